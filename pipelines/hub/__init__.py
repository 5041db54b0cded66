"""What leaves a store: models in other formats, and uploads to the Hugging Face Hub."""
