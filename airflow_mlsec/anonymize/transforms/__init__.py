"""What is done to one column: pseudonyms, tokens, noise, free text and the like."""
