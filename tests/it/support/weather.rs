//! Open-Meteo, played on this machine with the same wire format, and the plugin that asks it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;

/// Puts the bundled plugin into the folder's plugin directory, with settings that lead to a service of our own.
pub fn put_plugin(folder: &Path) {
    write_plugin(&folder.join("plugins/get_weather"), "");
}

/// Writes it anywhere, with more permissions. Returns the requests that its service gets, as text.
pub fn write_plugin(plugin: &Path, permissions: &str) -> Arc<Mutex<String>> {
    let seen = Arc::new(Mutex::new(String::new()));
    let service = open_meteo(Arc::clone(&seen));
    let permissions = permissions.replace("SERVICE", &service);
    std::fs::create_dir_all(plugin).unwrap();
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/get_weather/get_weather.wasm");
    std::fs::copy(wasm, plugin.join("get_weather.wasm")).unwrap();
    let manifest = format!(
        "name = \"get_weather\"\nversion = \"1.0.0\"\n[permissions]\nhttp = [\"{service}\"]\nallow_private = [\"127.0.0.1\"]\n{permissions}\
         [config]\ngeocoding_url = \"{service}\"\nforecast_url = \"{service}\"\n"
    );
    std::fs::write(plugin.join("plugin.toml"), manifest).unwrap();
    seen
}

/// Plays the two services.
fn open_meteo(seen: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut asked = [0; 4096];
            let read = stream.read(&mut asked).unwrap_or(0);
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&asked[..read]));
            let body = if asked[..read].starts_with(b"GET /v1/search") {
                json!({"results": [{"name": "Paris", "latitude": 48.85, "longitude": 2.35, "country": "France", "country_code": "FR", "admin1": "Île-de-France", "population": 2_138_551}]})
            } else {
                json!({"current": {"time": "2026-11-22T10:15", "temperature_2m": 7.5, "weather_code": 3}, "daily": {"time": []}})
            };
            let body = body.to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).ok();
        }
    });
    url
}
