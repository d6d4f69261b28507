//! Prints the settings as they hold.

use super::value::without_secrets;
use super::{Config, HIDES_SECRETS, Loaded, Origin, is_secret};
use crate::error::{Error, Result};

impl Loaded {
    /// All settings as TOML that can be read again, and where each comes from. Secrets are not shown, nor
    /// what may be secret in a URL: such a line is a comment.
    pub fn show(&self) -> Result<String> {
        let values = toml::Table::try_from(&self.config).map_err(Error::internal)?;
        let settings = Config::settings();
        let mut text = String::new();
        for setting in settings.get_arguments() {
            let name = setting.get_id().as_str();
            let origin = self.origins.get(name).unwrap_or(&Origin::Default);
            text += &match values.get(name) {
                Some(toml::Value::String(url))
                    if name == HIDES_SECRETS && without_secrets(url).1 =>
                {
                    let shown = without_secrets(url).0;
                    format!("# {name} = {shown:?} is shortened  # {origin}\n")
                }
                Some(_) if is_secret(setting) => format!("# {name} is hidden  # {origin}\n"),
                Some(value) => format!("{name} = {value}  # {origin}\n"),
                None if setting.is_hide_set() => continue,
                None => format!("# {name} is not set\n"),
            };
        }
        Ok(text)
    }
}
