"""Letters to data subjects: acknowledgement, identity, extension, fee, refusal, the letter of an export, completion.

`_letters` renders a template in a language; `_places` says what is known about a place in words for the person;
`_others` takes other people's data out of what is handed over; `_sending` writes a letter for a request and records it.
Templates are in ``templates/<language>``, and a user's own take precedence. May import `requests` and `search`.
"""
