//! Tests over answers as the service gives them.

use std::cell::RefCell;

use super::*;

const PARIS: &str = r#"{"results":[
 {"id":2988507,"name":"Paris","latitude":48.85341,"longitude":2.3488,"country_code":"FR","population":2138551,"country":"France","admin1":"Île-de-France"},
 {"id":4717560,"name":"Paris","latitude":33.66094,"longitude":-95.55551,"country_code":"US","population":24782,"country":"United States","admin1":"Texas"}],"generationtime_ms":0.6}"#;
const SPRINGFIELD: &str = r#"{"results":[
 {"name":"Springfield","latitude":37.2,"longitude":-93.3,"country_code":"US","population":166810,"country":"United States","admin1":"Missouri"},
 {"name":"Springfield","latitude":42.1,"longitude":-72.6,"country_code":"US","population":154341,"country":"United States","admin1":"Massachusetts"}]}"#;
const FORECAST: &str = r#"{"latitude":48.86,"longitude":2.34,"timezone":"Europe/Paris","current_units":{"temperature_2m":"°C"},
 "current":{"time":"2026-11-22T10:15","interval":900,"temperature_2m":-0.04,"apparent_temperature":-3.5,"relative_humidity_2m":81,"precipitation":0.2,"weather_code":71,"wind_speed_10m":12.25,"wind_direction_10m":350},
 "daily":{"time":["2026-11-22","2026-11-23"],"weather_code":[71,3],"temperature_2m_max":[1.0,4.6],"temperature_2m_min":[-2.5,0.0],"precipitation_probability_max":[90,null]}}"#;

struct Scripted<'a> {
    answers: RefCell<Vec<&'a str>>,
    asked: RefCell<Vec<String>>,
}

impl Fetch for Scripted<'_> {
    fn get(&self, url: &str) -> Result<String, String> {
        self.asked.borrow_mut().push(url.to_owned());
        match self.answers.borrow_mut().pop() {
            Some(answer) => Ok(answer.to_owned()),
            None => Err("connection refused".to_owned()),
        }
    }
}

fn ask(location: &str, answers: &[&str], units: Units) -> (Result<(String, String), Trouble>, Vec<String>) {
    let fetch = Scripted { answers: RefCell::new(answers.iter().rev().copied().collect()), asked: RefCell::default() };
    let question = Question { location: location.into(), units, days: 2 };
    let services = Services { geocoding: "https://geo.test/".into(), forecast: "https://meteo.test".into() };
    let answer = weather(&question, &services, &fetch);
    (answer, fetch.asked.into_inner())
}

#[test]
fn the_weather_is_told_in_words_and_as_data() {
    let (answer, asked) = ask("Paris", &[PARIS, FORECAST], Units::Metric);
    let (text, data) = answer.unwrap();
    assert_eq!(
        text,
        "Paris, Île-de-France, France: 0 °C, slight snowfall, feels like -3.5 °C, humidity 81%, wind 12.3 km/h from N, precipitation 0.2 mm (at 2026-11-22 10:15 local time)\n\
         2026-11-22: slight snowfall, -2.5 to 1 °C, 90% chance of precipitation\n\
         2026-11-23: overcast, 0 to 4.6 °C"
    );
    let data: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(data["conditions"], "slight snowfall");
    assert_eq!(data["forecast"][1]["temperature_max"], 4.6);
    assert!(asked[0].starts_with("https://geo.test/v1/search?name=Paris&"), "{}", asked[0]);
    assert!(asked[1].contains("latitude=48.85341&longitude=2.34880"), "{}", asked[1]);
}

#[test]
fn imperial_units_are_asked_for_and_told() {
    let (answer, asked) = ask("Paris, Texas", &[PARIS, FORECAST], Units::Imperial);
    let (text, _) = answer.unwrap();
    assert!(text.starts_with("Paris, Texas, United States: 0 °F") && text.contains("mph"), "{text}");
    assert!(asked[1].contains("latitude=33.66094") && asked[1].contains("temperature_unit=fahrenheit"));
}

#[test]
fn ambiguous_and_unknown_places_are_told_so_that_the_asker_can_say_more() {
    let (answer, asked) = ask("Springfield", &[SPRINGFIELD], Units::Metric);
    let Err(Trouble::Place(words)) = answer else { panic!("{answer:?}") };
    assert!(words.contains("Springfield, Missouri") && words.contains("Springfield, Massachusetts"), "{words}");
    assert_eq!(asked.len(), 1);
    let (answer, _) = ask("Springfield, Massachusetts, USA", &[SPRINGFIELD, FORECAST], Units::Metric);
    assert!(answer.unwrap().0.starts_with("Springfield, Massachusetts"));
    let (answer, _) = ask("Atlantis", &[r#"{"generationtime_ms":0.3}"#], Units::Metric);
    assert!(matches!(answer, Err(Trouble::Place(words)) if words.contains("No place is called \"Atlantis\"")));
    let (answer, _) = ask("Paris, Mars", &[PARIS], Units::Metric);
    assert!(matches!(answer, Err(Trouble::Place(words)) if words.contains("There is: Paris, Île-de-France")));
}

#[test]
fn a_service_that_fails_is_no_fault_of_the_asker() {
    assert_eq!(ask("Paris", &[], Units::Metric).0, Err(Trouble::Unavailable("connection refused".into())));
    for nonsense in ["<html>", "7", r#"{"error":true,"reason":"Daily limit exceeded"}"#] {
        let (answer, _) = ask("Paris", &[nonsense], Units::Metric);
        assert!(matches!(answer, Err(Trouble::Unavailable(_))), "{nonsense}: {answer:?}");
        let (answer, _) = ask("Paris", &[PARIS, nonsense], Units::Metric);
        assert!(matches!(answer, Err(Trouble::Unavailable(_))), "{nonsense}: {answer:?}");
    }
}

#[test]
fn names_cannot_leave_their_place_in_the_query() {
    let (_, asked) = ask("São Paulo&x=1/../ ", &[], Units::Metric);
    assert!(asked[0].contains("name=S%C3%A3o%20Paulo%26x%3D1%2F..%2F&count"), "{}", asked[0]);
}
