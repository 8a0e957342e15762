"""The demo: real sales from a file, sent as commands, and the views compared with an independent fold."""
