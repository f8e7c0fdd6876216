//! Forecasts: how they are asked for and what is read of them.

use serde_json::Value;

use crate::Question;
use crate::places::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    Metric,
    Imperial,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    pub current: Current,
    pub daily: Days,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    pub time: String,
    pub temperature_2m: f64,
    pub apparent_temperature: Option<f64>,
    pub relative_humidity_2m: Option<f64>,
    pub precipitation: Option<f64>,
    pub weather_code: Option<u16>,
    pub wind_speed_10m: Option<f64>,
    pub wind_direction_10m: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Days {
    pub time: Vec<String>,
    pub weather_code: Vec<Option<u16>>,
    pub temperature_2m_max: Vec<Option<f64>>,
    pub temperature_2m_min: Vec<Option<f64>>,
    pub precipitation_probability_max: Vec<Option<f64>>,
}

pub fn url(service: &str, place: &Place, question: &Question) -> String {
    let units = match question.units {
        Units::Metric => "",
        Units::Imperial => "&temperature_unit=fahrenheit&wind_speed_unit=mph&precipitation_unit=inch",
    };
    format!(
        "{}/v1/forecast?latitude={}&longitude={}&current=temperature_2m,apparent_temperature,relative_humidity_2m,precipitation,weather_code,wind_speed_10m,wind_direction_10m&daily=weather_code,temperature_2m_max,temperature_2m_min,precipitation_probability_max&timezone=auto&forecast_days={}{units}",
        service.trim_end_matches('/'),
        degrees(place.latitude),
        degrees(place.longitude),
        question.days.max(1),
    )
}

/// Five digits behind the point: a metre.
fn degrees(value: f64) -> String {
    let parts = (value.abs() * 100_000.0).round() as u64;
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}.{:05}", parts / 100_000, parts % 100_000)
}

pub fn read(answer: &str) -> Result<Forecast, String> {
    let nonsense = || "the weather service answered something else than a forecast".to_owned();
    let told: Value = serde_json::from_str(answer).map_err(|_| nonsense())?;
    if let Some(reason) = told["reason"].as_str() {
        return Err(format!("the weather service refused: {reason}"));
    }
    let current = read_current(&told["current"]).ok_or_else(nonsense)?;
    Ok(Forecast { current, daily: read_days(&told["daily"]) })
}

fn read_current(now: &Value) -> Option<Current> {
    Some(Current {
        time: now["time"].as_str()?.to_owned(),
        temperature_2m: now["temperature_2m"].as_f64()?,
        apparent_temperature: now["apparent_temperature"].as_f64(),
        relative_humidity_2m: now["relative_humidity_2m"].as_f64(),
        precipitation: now["precipitation"].as_f64(),
        weather_code: code(&now["weather_code"]),
        wind_speed_10m: now["wind_speed_10m"].as_f64(),
        wind_direction_10m: now["wind_direction_10m"].as_f64(),
    })
}

fn read_days(days: &Value) -> Days {
    let list = |key: &str| days[key].as_array().map_or(&[][..], Vec::as_slice);
    let figures = |key: &str| list(key).iter().map(Value::as_f64).collect();
    Days {
        time: list("time").iter().filter_map(|day| day.as_str().map(str::to_owned)).collect(),
        weather_code: list("weather_code").iter().map(code).collect(),
        temperature_2m_max: figures("temperature_2m_max"),
        temperature_2m_min: figures("temperature_2m_min"),
        precipitation_probability_max: figures("precipitation_probability_max"),
    }
}

fn code(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|code| u16::try_from(code).ok())
}
