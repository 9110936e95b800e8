//! Direct deploy: image URLs, proxies and power, against real Swift, Squid, nginx and management controllers.
