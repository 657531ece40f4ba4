"""BigQuery as the engine: raw events go there, and what the services read comes back."""
