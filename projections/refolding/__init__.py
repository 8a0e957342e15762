"""Views folded anew from the store: to verify them, to rebuild them beside the live ones, to answer why."""
