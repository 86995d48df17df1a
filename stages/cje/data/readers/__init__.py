"""What users bring: files of prompts, logs and scores, data sets of the Hugging Face hub."""
