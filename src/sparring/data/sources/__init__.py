"""Sources of images: folders, archives, parquet files, the Hugging Face Hub."""
