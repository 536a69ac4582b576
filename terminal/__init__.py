"""The command line: every verb is one call of the library and reads and writes the library's own files."""
