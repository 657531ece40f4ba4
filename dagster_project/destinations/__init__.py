"""Where audiences go. A destination is one class behind `destination.Destination`."""
