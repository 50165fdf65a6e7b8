//! The datagrams of a receiving or a sending call.

use crate::calls::Call;
use crate::step::Datagram;
use crate::syntax::Value;

/// Returns the datagrams that a call received or sent; those of another call are none.
pub(crate) fn of(call: &Call) -> Vec<Datagram> {
    let Some(result) = call.result.and_then(|result| usize::try_from(result).ok()) else { return Vec::new() };
    let argument = |index: usize| call.arguments.get(index);
    let single = match call.name.as_str() {
        "recvmmsg" | "sendmmsg" => {
            let messages = argument(1).map(Value::list).unwrap_or_default();
            return messages
                .iter()
                .take(result)
                .filter_map(|message| {
                    let length = message.field("msg_len")?.number()?.try_into().ok()?;
                    of_header(message.field("msg_hdr")?, length)
                })
                .collect();
        }
        "recvmsg" | "sendmsg" => argument(1).and_then(|header| of_header(header, result)),
        "recvfrom" | "sendto" => argument(1)
            .and_then(Value::bytes)
            .zip(argument(4))
            .and_then(|(content, peer)| datagram(peer, content, result)),
        _ => None,
    };
    single.into_iter().collect()
}

fn of_header(header: &Value, length: usize) -> Option<Datagram> {
    let parts = header.field("msg_iov")?.list().iter();
    let content = parts.filter_map(|part| part.field("iov_base")?.bytes()).collect::<Vec<_>>().concat();
    datagram(header.field("msg_name")?, &content, length)
}

/// Returns a datagram of an internet address.
fn datagram(peer: &Value, content: &[u8], length: usize) -> Option<Datagram> {
    let part = |name: &str| peer.field(name).and_then(Value::word);
    let address = part("sin_addr").or_else(|| peer.field("").and_then(Value::word)).unwrap_or_default();
    let port = part("sin_port").or_else(|| part("sin6_port"))?;
    let content = content.get(..length.min(content.len()))?;
    Some(Datagram {
        peer: format!("{address} {port}"),
        content: String::from_utf8_lossy(content).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls;

    #[test]
    fn datagrams_of_each_call() {
        let address = r#"{sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr("127.0.0.1")}"#;
        let header = |content: &str| {
            format!(
                "{{msg_name={address}, msg_namelen=128 => 16, msg_iov=[{{iov_base=\"{content}\", iov_len=9}}], msg_flags=0}}"
            )
        };
        let line = |call: String| calls::parse(&format!("1 {call}")).unwrap().remove(0);
        for (call, contents) in [
            (format!("sendto(3, \"ab\", 2, 0, {address}, 16) = 2"), &["ab"][..]),
            (format!("recvfrom(3, \"abc\", 9, 0, {address}, [16]) = 3"), &["abc"]),
            (format!("sendmsg(3, {}, 0) = 2", header("xy")), &["xy"]),
            (
                format!(
                    "recvmmsg(3, [{{msg_hdr={}, msg_len=2}}, {{msg_hdr={}, msg_len=1}}], 64, 0, NULL) = 2",
                    header("xy"),
                    header("zz")
                ),
                &["xy", "z"],
            ),
            (format!("sendmmsg(3, [{{msg_hdr={}}}], 1, 0) = -1 EAGAIN (x)", header("xy")), &[]),
            ("sendto(3, \"ab\", 2, 0, NULL, 0) = 2".to_owned(), &[]),
        ] {
            let found = of(&line(call.clone()));
            assert_eq!(
                found.iter().map(|datagram| &datagram.content[..]).collect::<Vec<_>>(),
                contents,
                "{call}"
            );
            assert!(found.iter().all(|found| found.peer == "inet_addr(\"127.0.0.1\") htons(7)"), "{found:?}");
        }
    }
}
