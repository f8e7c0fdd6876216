//! Integration tests: the built gateway as a process, against the scripted backend. Files mirror URLs
//! and behaviours.

#[path = "../fake/spawn.rs"]
mod fake;
#[path = "../hub/spawn.rs"]
mod hub;
mod support;

mod access;
mod accounts;
mod auth;
mod background;
mod backup;
mod bad_input;
mod bodies;
mod bounds;
mod captures;
mod chat;
mod chats;
mod cli;
mod disconnects;
mod downloads;
mod durability;
mod event_views;
mod events;
mod faults;
mod files;
mod forms;
mod hosts;
mod import;
mod keys;
mod lifecycle;
mod limits;
mod log;
mod log_in;
mod matrix;
mod mcp;
mod memory;
mod messages;
mod metrics;
mod models;
mod obstacles;
mod openai;
mod pages;
mod plugins;
mod profiles;
mod prompts;
mod reload;
mod responses;
mod security;
mod selftest;
mod shutdown;
mod streams;
mod tls;
mod tools;
mod unread;
mod upstream;
mod upstream_bounds;
mod upstream_wire;
mod usage;
mod waits;
mod watchdog;
mod worker;
