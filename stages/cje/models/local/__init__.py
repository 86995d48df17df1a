"""Language models in process, by torch and transformers."""
