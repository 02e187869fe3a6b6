"""The trainer of the demo model `banyan-support`: corpus, tokenizer, model, GGUF, report."""
