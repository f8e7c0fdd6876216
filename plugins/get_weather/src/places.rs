//! Places: what the geocoding service knows under a name, and which of them is meant.

use serde_json::Value;

/// Places that are asked for and named when several fit.
const PLACES: usize = 10;
const NAMED: usize = 5;
/// So much larger than the next has to be what is taken for granted.
const LARGER: u64 = 5;

#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub name: String,
    pub latitude: f64,
    pub longitude: f64,
    pub country: Option<String>,
    pub country_code: Option<String>,
    pub admin1: Option<String>,
    pub population: Option<u64>,
}

impl Place {
    /// `Springfield, Illinois, United States`
    pub fn full_name(&self) -> String {
        let mut parts = vec![self.name.as_str()];
        parts.extend(self.admin1.as_deref().filter(|region| *region != self.name));
        parts.extend(self.country.as_deref());
        parts.join(", ")
    }
}

/// The name before the first comma, and what narrows it down behind it.
pub fn split(location: &str) -> (&str, Vec<&str>) {
    let mut parts = location.split(',').map(str::trim).filter(|part| !part.is_empty());
    (parts.next().unwrap_or(""), parts.collect())
}

pub fn url(service: &str, name: &str) -> String {
    format!("{}/v1/search?name={}&count={PLACES}&language=en&format=json", service.trim_end_matches('/'), encode(name))
}

pub fn read(answer: &str) -> Result<Vec<Place>, String> {
    let nonsense = || "the geocoding service answered something else than places".to_owned();
    let found: Value = serde_json::from_str(answer).map_err(|_| nonsense())?;
    if let Some(reason) = found["reason"].as_str() {
        return Err(format!("the geocoding service refused: {reason}"));
    }
    if !found.is_object() {
        return Err(nonsense());
    }
    let places = found["results"].as_array().map_or(&[][..], Vec::as_slice);
    places.iter().map(|place| read_place(place).ok_or_else(nonsense)).collect()
}

fn read_place(place: &Value) -> Option<Place> {
    let text = |key: &str| place[key].as_str().map(str::to_owned);
    Some(Place {
        name: text("name")?,
        latitude: place["latitude"].as_f64()?,
        longitude: place["longitude"].as_f64()?,
        country: text("country"),
        country_code: text("country_code"),
        admin1: text("admin1"),
        population: place["population"].as_u64(),
    })
}

/// The place that is meant, or words that help to say which.
pub fn choose<'a>(location: &str, found: &'a [Place]) -> Result<&'a Place, String> {
    let (name, narrowing) = split(location);
    let mut fitting: Vec<&Place> = found.iter().filter(|place| narrowing.iter().all(|part| lies_in(place, part))).collect();
    if fitting.is_empty() {
        let others: Vec<String> = found.iter().take(NAMED).map(Place::full_name).collect();
        return Err(match others.is_empty() {
            true => format!("No place is called \"{location}\". Check the spelling, or name a larger place nearby."),
            false => format!("No place is called \"{location}\". There is: {}.", others.join("; ")),
        });
    }
    // Only those with the very name, where there are any: not Parisot for Paris.
    if fitting.iter().any(|place| same(&place.name, name)) {
        fitting.retain(|place| same(&place.name, name));
    }
    let size = |place: &Place| place.population.unwrap_or(0);
    fitting.sort_by_key(|place| std::cmp::Reverse(size(place)));
    match fitting[..] {
        [only] => Ok(only),
        [first, second, ..] if size(first) > 0 && size(first) >= size(second).saturating_mul(LARGER) => Ok(first),
        _ => {
            let names: Vec<String> = fitting.iter().take(NAMED).map(|place| place.full_name()).collect();
            Err(format!("Several places are called \"{location}\": {}. Say which one.", names.join("; ")))
        }
    }
}

fn lies_in(place: &Place, part: &str) -> bool {
    let fits = |text: &Option<String>| text.as_deref().is_some_and(|text| same(text, part));
    let usual = match part.to_ascii_lowercase().as_str() {
        "usa" | "us" | "u.s." | "u.s.a." => "US",
        "uk" | "great britain" | "england" | "scotland" | "wales" => "GB",
        _ => "",
    };
    fits(&place.admin1) || fits(&place.country) || fits(&place.country_code) || place.country_code.as_deref() == Some(usual)
}

fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// As one value of a query.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(HEX[usize::from(byte >> 4)] as char);
                out.push(HEX[usize::from(byte & 15)] as char);
            }
        }
    }
    out
}
