//! How to install and launch each kind of server.
