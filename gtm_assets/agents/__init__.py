"""What agents are told of the metrics, over the Model Context Protocol."""
