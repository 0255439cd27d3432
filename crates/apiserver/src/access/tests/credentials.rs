//! Who a request is, by what it brings.

use proptest::prelude::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::*;
use crate::access::authority::Subject;
use crate::access::tokens::Claims;
use crate::access::{Credentials, Facts, Identity, StaticTokens, Tokens};
use crate::status::Status;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn tokens(authority: &Authority) -> Tokens {
    let fixed =
        StaticTokens::read("secret,admin,1,\"system:masters,ops\"\n\n\"quo\"\"ted\",bob,,\nplain,eve,3\n");
    Tokens { fixed: fixed.unwrap(), key: authority.token_key(), issuer: ISSUER.into() }
}

fn claims() -> Claims {
    Claims {
        namespace: "n".into(),
        name: "s".into(),
        uid: "u-1".into(),
        audiences: vec![ISSUER.into()],
        bound: None,
        id: "j-1".into(),
        issued: NOW,
        expires: NOW + 600,
    }
}

/// A cluster with the ServiceAccount n/s, the Pod n/p and the Node a.
fn object_of(plural: &str, namespace: &str, name: &str) -> Option<Value> {
    let uid = match (plural, namespace, name) {
        ("serviceaccounts", "n", "s") => "u-1",
        ("pods", "n", "p") => "u-2",
        ("nodes", "", "a") => "u-3",
        _ => return None,
    };
    Some(json!({"metadata": {"name": name, "uid": uid}}))
}

fn who(authority: &Authority, authorization: &str, now: i64) -> Result<Identity, Status> {
    let credentials = Credentials { certificates: &[], authorization: Some(authorization) };
    Identity::of(&credentials, &tokens(authority), &Facts { now, object_of: &object_of })
}

#[test]
fn tokens_of_a_file() {
    let folder = Folder::new();
    let authority = open(&folder);
    for (header, user, uid, groups) in [
        ("Bearer secret", "admin", "1", "system:masters ops system:authenticated"),
        ("bearer quo\"ted", "bob", "", "system:authenticated"),
        (" Bearer plain more", "eve", "3", "system:authenticated"),
        ("", "system:anonymous", "", "system:unauthenticated"),
        ("Bearer", "system:anonymous", "", "system:unauthenticated"),
        ("Bearer ", "system:anonymous", "", "system:unauthenticated"),
        ("Basic c2VjcmV0", "system:anonymous", "", "system:unauthenticated"),
    ] {
        let identity = who(&authority, header, NOW).unwrap();
        assert_eq!(
            (identity.user.as_str(), identity.uid.as_str(), identity.groups.join(" ").as_str()),
            (user, uid, groups),
            "{header}"
        );
    }
    for header in ["Bearer nope", "Bearer secre", "Bearer secret2", "Bearer a.b.c", "Bearer ..", "Bearer ."] {
        assert_eq!(who(&authority, header, NOW), Err(Status::unauthorized()), "{header}");
    }
    for (text, why) in [
        ("a,b", "line 1: 3 columns are needed (token, user name, user uid), not 2"),
        ("\n,b,c", "line 2: neither the token nor the user can be empty"),
        ("a,b,c\na,d,e", "line 2: the token is there twice"),
        ("a,b,\"c", "line 1: a quote does not end"),
        ("a,b,\"c\"d", "line 1: something follows the quote that ends a column"),
        ("a\"x,b,c", "line 1: a quote in a column that does not begin with one"),
    ] {
        assert_eq!(StaticTokens::read(text).unwrap_err(), why);
    }
    assert_eq!(format!("{:?}", tokens(&authority).fixed).matches("secret").count(), 0);
}

#[test]
fn tokens_of_service_accounts() {
    let folder = Folder::new();
    let authority = open(&folder);
    let known = tokens(&authority);
    let sign = |change: fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        format!("Bearer {}", known.sign(&claims))
    };
    let identity = who(&authority, &sign(|_| {}), NOW + 599).unwrap();
    assert_eq!((identity.user.as_str(), identity.uid.as_str()), ("system:serviceaccount:n:s", "u-1"));
    assert_eq!(
        identity.groups,
        ["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"]
    );
    assert_eq!(identity.extra["authentication.kubernetes.io/credential-id"], ["JTI=j-1"]);
    let of_pod = who(&authority, &sign(|c| c.bound = Some(("pod", "p".into(), "u-2".into()))), NOW).unwrap();
    assert_eq!(of_pod.extra["authentication.kubernetes.io/pod-name"], ["p"]);

    type Case = (&'static str, fn(&mut Claims), i64);
    let table: [Case; 10] = [
        ("expired", |_| {}, NOW + 600),
        ("from the future", |_| {}, NOW - 61),
        ("another uid", |c| c.uid = "u-9".into(), NOW),
        ("no uid", |c| c.uid = String::new(), NOW),
        ("gone", |c| c.name = "t".into(), NOW),
        ("elsewhere", |c| c.namespace = "m".into(), NOW),
        ("for others", |c| c.audiences = vec!["vault".into()], NOW),
        ("for nobody", |c| c.audiences = Vec::new(), NOW),
        ("its pod is another one", |c| c.bound = Some(("pod", "p".into(), "u-9".into())), NOW),
        ("its pod is gone", |c| c.bound = Some(("pod", "q".into(), "u-2".into())), NOW),
    ];
    for (what, change, now) in table {
        assert_eq!(who(&authority, &sign(change), now), Err(Status::unauthorized()), "{what}");
    }

    // Signed by somebody else, for another issuer, with no signature at all, or changed by one bit.
    let other_folder = Folder::new();
    let other = tokens(&open(&other_folder)).sign(&claims());
    let issuer = Tokens { issuer: "https://other".into(), ..tokens(&authority) };
    let issuer = issuer.sign(&Claims { audiences: vec![ISSUER.into()], ..claims() });
    let token = known.sign(&claims());
    let (signed, _) = token.rsplit_once('.').unwrap();
    let none = crate::access::base64url(br#"{"alg":"none"}"#);
    let unsigned = format!("{none}.{}.", signed.split_once('.').unwrap().1);
    for token in [other, issuer, unsigned, format!("{signed}."), signed.to_owned(), format!("{token}.")] {
        assert_eq!(who(&authority, &format!("Bearer {token}"), NOW), Err(Status::unauthorized()), "{token}");
    }
    let mut changed = 0;
    for place in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let header = format!("Bearer {}", String::from_utf8(bytes).unwrap());
        assert_eq!(who(&authority, &header, NOW), Err(Status::unauthorized()), "{place}");
        changed += 1;
    }
    assert!(changed > 50);
    // A restart knows the tokens of before.
    assert!(who(&open(&folder), &format!("Bearer {token}"), NOW).is_ok());
}

#[test]
fn certificates_and_what_comes_with_them() {
    let folder = Folder::new();
    let authority = open(&folder);
    let issue = |user: &str, now| {
        let subject = Subject { user: user.into(), group: "system:nodes".into() };
        let client = authority.issue(&subject, 7, at(now)).unwrap();
        CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap()
    };
    let known = tokens(&authority);
    let node = issue("system:node:a", NOW);
    let old = issue("system:node:a", NOW - 8 * DAY);
    let nameless = issue("", NOW);
    let garbage = CertificateDer::from(vec![0x30, 0x80]);
    for (what, certificate, authorization, user) in [
        ("a node", &node, None, Ok("system:node:a")),
        ("the certificate counts first", &node, Some("Bearer secret"), Ok("system:node:a")),
        ("a bad token beside it does no harm", &node, Some("Bearer nope"), Ok("system:node:a")),
        ("it expired while the connection lived", &old, None, Err(401)),
        ("expired, but a token", &old, Some("Bearer secret"), Ok("admin")),
        ("for nobody", &nameless, None, Ok("system:anonymous")),
        ("no certificate", &garbage, None, Err(401)),
    ] {
        let credentials = Credentials { certificates: std::slice::from_ref(certificate), authorization };
        let found = Identity::of(&credentials, &known, &Facts { now: NOW, object_of: &object_of });
        assert_eq!(found.as_ref().map(|who| who.user.as_str()).map_err(|status| status.code), user, "{what}");
    }
    let credentials = Credentials { certificates: &[node], authorization: None };
    let identity = Identity::of(&credentials, &known, &Facts { now: NOW, object_of: &object_of }).unwrap();
    assert_eq!(identity.groups, ["system:nodes", "system:authenticated"]);
    let print = &identity.extra["authentication.kubernetes.io/credential-id"][0];
    assert_eq!((&print[..11], print.len()), ("X509SHA256=", 11 + 64));
}

#[test]
fn nothing_that_is_sent_is_a_panic() {
    let folder = Folder::new();
    let authority = open(&folder);
    let known = tokens(&authority);
    let good = known.sign(&claims());
    let client = authority.issue(&Subject::admin(), 7, at(NOW)).unwrap();
    let der = CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap().to_vec();
    let facts = Facts { now: NOW, object_of: &object_of };
    let strategy = (any::<Vec<u8>>(), ".*", any::<prop::sample::Index>(), any::<u8>());
    proptest!(ProptestConfig::with_cases(512), |((bytes, text, place, byte) in strategy)| {
        // Somewhere else than it was, so that the signature cannot be good.
        let mut broken = der.clone();
        let at = place.index(broken.len());
        broken[at] ^= byte;
        broken.truncate(broken.len() - usize::from(byte % 3));
        for bytes in [&bytes, &broken] {
            let certificates = [CertificateDer::from(bytes.clone())];
            for authorization in [None, Some(text.as_str())] {
                let _ = Identity::of(&Credentials { certificates: &certificates, authorization }, &known, &facts);
            }
        }
        let mut token = good.clone();
        token.truncate(place.index(token.len()));
        for token in [&token, &text, &format!("{token}{text}")] {
            prop_assert!(known.review(token, &[], &facts).is_err());
        }
        let parts = format!("{}.{}.{}", crate::access::base64url(&bytes), text, crate::access::base64url(text.as_bytes()));
        prop_assert!(known.review(&parts, &[], &facts).is_err());
        let _ = StaticTokens::read(&text);
    });
}
