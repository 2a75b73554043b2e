//! What only the environment says.

use super::super::Credentials;
use super::super::value::{Kind, Value};
use super::Key;

pub(super) fn keys() -> Vec<Key> {
    let user = |path: &str, about, secret, set: fn(&mut Credentials, String)| {
        let key = Key::new(None, path, Kind::Word, "", about, move |c, v| {
            if let Value::Text(text) = v {
                set(c.authentication.credentials.get_or_insert_default(), text.clone());
            }
        });
        Key { secret, ..key }
    };
    let own = "`serve` writes it to DATA_DIR/credentials.json in place of the one there, where it stays";
    vec![
        user("OMNIMIND_DASHBOARD_USER", format!("The user's name, without `:`; {own}"), false, |c, text| {
            c.user = text
        })
        .also("OMNIMIND_DASHBOARD_USER"),
        user(
            "OMNIMIND_DASHBOARD_PASS",
            format!("The password, in mode prod of 12 characters at least; {own}"),
            true,
            |c, text| c.password = text,
        )
        .also("OMNIMIND_DASHBOARD_PASS"),
    ]
}
