//! Bytes that others send, broken in every way that chance finds: nothing panics, nothing depends on how a stream
//! is cut, and what is taken is what it claims to be. Begins with good bytes (recorded answers, requests as
//! clients send them) and changes those. `MLX_GATEWAY_FUZZ_SECONDS` says for how long each (1; `make test`: 20).

mod answers;
mod backups;
mod configs;
mod harness;
mod hub;
mod machine;
mod models;
mod plugins;
mod requests;
mod worker;
