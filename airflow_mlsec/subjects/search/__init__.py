"""Where a person's data can be, and searching for it there: by key, by membership list, by likeness."""
