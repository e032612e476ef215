"""What series of samples mean: a subset of PromQL with Prometheus's own numbers, conditions in words, and the text exposition."""
