//! Weather in words, and as data.

use crate::forecast::{Forecast, Units};
use crate::places::Place;

/// A paragraph for now, a line for each coming day.
pub fn tell(place: &Place, forecast: &Forecast, units: Units) -> String {
    let (degrees, speed, depth) = signs(units);
    let now = &forecast.current;
    let mut words = format!("{}: {}{degrees}", place.full_name(), number(now.temperature_2m));
    if let Some(code) = now.weather_code {
        words.push_str(&format!(", {}", sky(code)));
    }
    if let Some(feels) = now.apparent_temperature {
        words.push_str(&format!(", feels like {}{degrees}", number(feels)));
    }
    if let Some(humidity) = now.relative_humidity_2m {
        words.push_str(&format!(", humidity {}%", number(humidity)));
    }
    if let Some(wind) = now.wind_speed_10m {
        words.push_str(&format!(", wind {} {speed}", number(wind)));
        if let Some(from) = now.wind_direction_10m {
            words.push_str(&format!(" from {}", compass(from)));
        }
    }
    if let Some(rain) = now.precipitation.filter(|rain| *rain > 0.0) {
        words.push_str(&format!(", precipitation {} {depth}", number(rain)));
    }
    words.push_str(&format!(" (at {} local time)", now.time.replace('T', " ")));
    for (index, day) in forecast.daily.time.iter().enumerate() {
        words.push_str(&format!("\n{day}: "));
        let value = |values: &Vec<Option<f64>>| values.get(index).copied().flatten();
        let mut parts = Vec::new();
        if let Some(code) = forecast.daily.weather_code.get(index).copied().flatten() {
            parts.push(sky(code).to_owned());
        }
        if let (Some(low), Some(high)) = (value(&forecast.daily.temperature_2m_min), value(&forecast.daily.temperature_2m_max)) {
            parts.push(format!("{} to {}{degrees}", number(low), number(high)));
        }
        if let Some(chance) = value(&forecast.daily.precipitation_probability_max) {
            parts.push(format!("{}% chance of precipitation", number(chance)));
        }
        words.push_str(&parts.join(", "));
    }
    words
}

/// The same for programs, as JSON.
pub fn data(place: &Place, forecast: &Forecast, units: Units) -> String {
    let (degrees, speed, _) = signs(units);
    let now = &forecast.current;
    let figure = |value: Option<f64>| value.map_or_else(|| "null".to_owned(), number);
    let said = |code: Option<u16>| code.map_or_else(|| "null".to_owned(), |code| text(sky(code)));
    let mut out = format!("{{\"location\":{},\"time\":{}", text(&place.full_name()), text(&now.time));
    out.push_str(&format!(",\"temperature\":{},\"conditions\":{}", number(now.temperature_2m), said(now.weather_code)));
    out.push_str(&format!(",\"humidity\":{},\"wind_speed\":{}", figure(now.relative_humidity_2m), figure(now.wind_speed_10m)));
    out.push_str(&format!(",\"units\":{{\"temperature\":{},\"wind_speed\":{}}},\"forecast\":[", text(degrees.trim()), text(speed)));
    let daily = &forecast.daily;
    for (index, date) in daily.time.iter().enumerate() {
        let value = |values: &[Option<f64>]| figure(values.get(index).copied().flatten());
        if index > 0 {
            out.push(',');
        }
        out.push_str(&format!("{{\"date\":{},\"conditions\":{}", text(date), said(daily.weather_code.get(index).copied().flatten())));
        out.push_str(&format!(",\"temperature_max\":{},\"temperature_min\":{}", value(&daily.temperature_2m_max), value(&daily.temperature_2m_min)));
        out.push_str(&format!(",\"precipitation_probability\":{}}}", value(&daily.precipitation_probability_max)));
    }
    out.push_str("]}");
    out
}

/// A JSON string.
fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// WMO code 4677, as far as the service uses it.
pub fn sky(code: u16) -> &'static str {
    match code {
        0 => "clear sky",
        1 => "mainly clear",
        2 => "partly cloudy",
        3 => "overcast",
        45 => "fog",
        48 => "depositing rime fog",
        51 => "light drizzle",
        53 => "moderate drizzle",
        55 => "dense drizzle",
        56 => "light freezing drizzle",
        57 => "dense freezing drizzle",
        61 => "slight rain",
        63 => "moderate rain",
        65 => "heavy rain",
        66 => "light freezing rain",
        67 => "heavy freezing rain",
        71 => "slight snowfall",
        73 => "moderate snowfall",
        75 => "heavy snowfall",
        77 => "snow grains",
        80 => "slight rain showers",
        81 => "moderate rain showers",
        82 => "violent rain showers",
        85 => "slight snow showers",
        86 => "heavy snow showers",
        95 => "thunderstorm",
        96 => "thunderstorm with slight hail",
        99 => "thunderstorm with heavy hail",
        _ => "unknown conditions",
    }
}

fn signs(units: Units) -> (&'static str, &'static str, &'static str) {
    match units {
        Units::Metric => (" °C", "km/h", "mm"),
        Units::Imperial => (" °F", "mph", "in"),
    }
}

fn compass(degrees: f64) -> &'static str {
    const NAMES: [&str; 8] = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];
    NAMES[((degrees.rem_euclid(360.0) / 45.0 + 0.5) as usize) % 8]
}

/// One digit behind the point at most.
fn number(value: f64) -> String {
    let tenths = (value * 10.0).round() as i64;
    let sign = if tenths < 0 { "-" } else { "" };
    let (whole, rest) = (tenths.abs() / 10, tenths.abs() % 10);
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}
