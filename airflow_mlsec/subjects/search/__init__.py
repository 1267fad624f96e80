"""Where a person's data can be, and looking for it there: by keys, by lists of members, by likeness."""
