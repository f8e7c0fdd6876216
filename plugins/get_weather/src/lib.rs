//! The weather: a place in, words out. `places` and `forecast` read Open-Meteo's answers, `words`
//! tells them; `component` alone knows that this is a plugin and how requests are sent.

mod forecast;
mod places;
mod words;

#[cfg(target_family = "wasm")]
mod component;

pub use forecast::{Forecast, Units};
pub use places::{Place, choose};

/// Sends a GET request and gives the body.
pub trait Fetch {
    fn get(&self, url: &str) -> Result<String, String>;
}

/// What is asked.
pub struct Question {
    pub location: String,
    pub units: Units,
    pub days: u32,
}

/// The two services, as configured.
pub struct Services {
    pub geocoding: String,
    pub forecast: String,
}

/// An answer in words and as data, or what the asker may mend.
pub fn weather(question: &Question, services: &Services, fetch: &impl Fetch) -> Result<(String, String), Trouble> {
    let (name, _) = places::split(&question.location);
    let found = fetch.get(&places::url(&services.geocoding, name)).map_err(Trouble::Unavailable)?;
    let found = places::read(&found).map_err(Trouble::Unavailable)?;
    let place = choose(&question.location, &found).map_err(Trouble::Place)?;
    let told = fetch.get(&forecast::url(&services.forecast, place, question)).map_err(Trouble::Unavailable)?;
    let forecast = forecast::read(&told).map_err(Trouble::Unavailable)?;
    Ok((words::tell(place, &forecast, question.units), words::data(place, &forecast, question.units)))
}

/// Why there is no answer.
#[derive(Debug, PartialEq)]
pub enum Trouble {
    /// The place is unknown or could be several.
    Place(String),
    /// The service did not answer, or not in its own words.
    Unavailable(String),
}

#[cfg(test)]
mod tests;
