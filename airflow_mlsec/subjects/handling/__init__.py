"""Actions for a request: erasing, rectifying, restricting, handing over, looking again, closing."""
