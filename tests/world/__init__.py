"""A simulated world for the conductor: see box.py for a life, oracle.py for the promises."""
