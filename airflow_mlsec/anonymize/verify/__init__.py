"""The independent checker of releases, written from the definitions; nothing here knows the fitter."""
