//! Requests with wrong signatures, or with unusual signed text.

use super::generator::{Generator, ODD_TEXTS};
use super::headers::sign;
use super::policies::USERS;

impl Generator {
    /// A request with a wrong signature, user or time.
    pub(super) fn badly_signed(&mut self) -> Vec<u8> {
        let headers = self.headers();
        let (user, key) = self.user();
        let good = String::from_utf8(sign(headers.clone(), user, key, self.now)).unwrap();
        let (rest, signature) = good.trim_end().rsplit_once("Sig: ").unwrap();
        let time = format!("Time: {}", self.now);
        let times = [
            "",
            "soon",
            "1.5",
            "1e9",
            "0",
            "-5",
            "99999999999999999999",
            "-99999999999999999999",
            "9223372036854775807",
            "-9223372036854775808",
            "1_700_000_000",
            "0x10",
        ];
        let text = match self.random.below(14) {
            0 => return sign(headers, user, "wrong", self.now),
            1 => return sign(headers, "nobody", key, self.now),
            2 => {
                return sign(
                    headers,
                    user,
                    key,
                    self.now + self.random.pick(&[-400, 400, -240, 240, 1 << 40]),
                );
            }
            3 => return sign(headers, &user.to_uppercase(), key, self.now),
            4 => return sign(headers, &format!("{user} "), key, self.now),
            5 => rest.to_owned(),
            6 => format!("{rest}Sig: {}\n\n", signature.to_uppercase()),
            7 => format!("{rest}Sig: {signature} \n\n"),
            8 => format!("Sig: {signature}\n{rest}\n"),
            9 => format!("{rest}sIG: {signature}\nSig: {signature}\n\n"),
            10 => format!("{rest}Sig:\nSig: {signature}\n\n"),
            11 => good.replace("PV: 2.1", "PV: 2.0"),
            12 => good.replace(&format!("{time}\n"), ""),
            _ => good.replace(&time, &format!("Time: {}", self.random.pick(&times))),
        };
        text.into_bytes()
    }

    /// A correctly signed request with text that Python's parser changes.
    pub(super) fn signed_oddly(&mut self) -> Vec<u8> {
        let (user, key) = self.random.pick(&USERS[..2]);
        let mut headers = vec![("Op", b"ping".to_vec()), ("Thread", self.thread()), ("PV", b"2.1".to_vec())];
        if self.random.percent(60) {
            headers.push(("X-Odd", self.random.pick(&ODD_TEXTS).to_vec()));
            return sign(headers, user, key, self.now);
        }
        let body = self.random.pick(&[&b"no header\n"[..], b"\n\nbody", b"\n\n  \n", b"\n\n\n\n", b" :x"]);
        [&sign(headers, user, key, self.now)[..], body].concat()
    }
}
