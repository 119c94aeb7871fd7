"""The inner problem: the last layer's weights W at fixed features."""
