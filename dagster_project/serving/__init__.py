"""The read side: decisions, profiles, audiences and exports over HTTP."""
