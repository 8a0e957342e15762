"""What `docker-compose.yml` needs beside the images: an image of ours, configurations, one-shot steps."""
