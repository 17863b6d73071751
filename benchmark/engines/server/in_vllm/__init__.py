"""What vLLM loads into its own process, by the name of a module in this folder."""
