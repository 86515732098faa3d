"""What an evaluation says beyond AP: where it is lost, which threshold to deploy, which images and labels to look at."""
