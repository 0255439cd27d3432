//! Bearer tokens: those of a file, and those of ServiceAccounts, which the server signs itself (JWT, ES256).
//!
//! What it does *not* do: keep the tokens that it signed. They end with their time, their ServiceAccount, or what they are
//! bound to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{KeyPair, PublicKeyData};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

use super::files::{self, Readers};
use super::identity::{CREDENTIAL, Identity};
use super::{AccessError, base64url, from_base64url};

/// The clock may have been set back by so many seconds since a token was signed.
const SLACK: i64 = 60;

/// What is so while a request is answered.
pub struct Facts<'a> {
    /// Seconds since 1970.
    pub now: i64,
    /// Answers an object (name in paths, namespace, name) of the core group; `None`: there is none.
    pub object_of: &'a dyn Fn(&str, &str, &str) -> Option<Value>,
}

impl Facts<'_> {
    /// Whether there is an object of that uid.
    fn is_there(&self, plural: &str, namespace: &str, (name, uid): (&str, &str)) -> bool {
        let object = (self.object_of)(plural, namespace, name);
        object.is_some_and(|object| object["metadata"]["uid"].as_str() == Some(uid))
    }
}

/// The tokens that are known.
#[derive(Debug)]
pub struct Tokens {
    /// Those of a file.
    pub fixed: StaticTokens,
    /// What signs the others.
    pub key: Arc<TokenKey>,
    /// Who signs them: an URL. It is also whom they are for when they do not say.
    pub issuer: String,
}

/// Whose token it is, and until when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The namespace of the ServiceAccount.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whom the token is for.
    pub audiences: Vec<String>,
    /// What must exist for as long as the token is used: `pod`, `secret` or `node`, name, uid.
    pub bound: Option<(&'static str, String, String)>,
    /// The token's own name.
    pub id: String,
    /// When it is signed, in seconds since 1970.
    pub issued: i64,
    /// The first second in which it is no longer good.
    pub expires: i64,
}

impl Tokens {
    /// Answers who a token is and for which of `audiences` it is good; without any it must be for this server. The error
    /// says why it is not good.
    pub fn review(
        &self,
        token: &str,
        audiences: &[String],
        facts: &Facts<'_>,
    ) -> Result<(Identity, Vec<String>), &'static str> {
        let own = [self.issuer.clone()];
        let audiences = if audiences.is_empty() { &own } else { audiences };
        if let Some(identity) = self.fixed.find(token) {
            // They say nothing of whom they are for: they are for this server.
            let good: Vec<String> =
                audiences.iter().filter(|audience| **audience == self.issuer).cloned().collect();
            return if good.is_empty() {
                Err("token audiences are invalid for this server")
            } else {
                Ok((identity.clone(), good))
            };
        }
        let claims = self.key.open(token).ok_or("invalid bearer token")?;
        if claims["iss"].as_str() != Some(&self.issuer) {
            return Err("invalid bearer token");
        }
        let claimed: Vec<&str> = match claims["aud"].as_str() {
            Some(one) => vec![one],
            None => claims["aud"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        };
        let good: Vec<String> =
            audiences.iter().filter(|audience| claimed.contains(&audience.as_str())).cloned().collect();
        if good.is_empty() {
            return Err("token audiences are invalid for this server");
        }
        Ok((account(&claims, facts)?, good))
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> String {
        let mut kubernetes = json!({"namespace": claims.namespace,
                                    "serviceaccount": {"name": claims.name, "uid": claims.uid}});
        if let Some((kind, name, uid)) = &claims.bound {
            kubernetes[*kind] = json!({"name": name, "uid": uid});
        }
        self.key.seal(&json!({
            "aud": claims.audiences, "exp": claims.expires, "iat": claims.issued, "iss": self.issuer, "jti": claims.id,
            "kubernetes.io": kubernetes, "nbf": claims.issued,
            "sub": format!("system:serviceaccount:{}:{}", claims.namespace, claims.name),
        }))
    }
}

/// Answers the ServiceAccount that claims are about, if it still is the one that it was.
fn account(claims: &Value, facts: &Facts<'_>) -> Result<Identity, &'static str> {
    let number = |claim: &str| claims[claim].as_i64().ok_or("invalid bearer token");
    if facts.now >= number("exp")? {
        return Err("service account token has expired");
    }
    if facts.now + SLACK < number("nbf")? {
        return Err("service account token is not valid yet");
    }
    let kubernetes = &claims["kubernetes.io"];
    let namespace = kubernetes["namespace"].as_str().unwrap_or_default();
    let text = |of: &str, field: &str| kubernetes[of][field].as_str().unwrap_or_default().to_owned();
    let (name, uid) = (text("serviceaccount", "name"), text("serviceaccount", "uid"));
    let user = format!("system:serviceaccount:{namespace}:{name}");
    if claims["sub"].as_str() != Some(&user) || uid.is_empty() {
        return Err("invalid bearer token");
    }
    if !facts.is_there("serviceaccounts", namespace, (&name, &uid)) {
        return Err("service account token has been invalidated");
    }
    let mut extra = BTreeMap::new();
    for (kind, plural, namespace) in
        [("pod", "pods", namespace), ("secret", "secrets", namespace), ("node", "nodes", "")]
    {
        if kubernetes[kind].is_null() {
            continue;
        }
        let (name, uid) = (text(kind, "name"), text(kind, "uid"));
        if !facts.is_there(plural, namespace, (&name, &uid)) {
            return Err("service account token has been invalidated");
        }
        if kind != "secret" {
            extra.insert(format!("authentication.kubernetes.io/{kind}-name"), vec![name]);
            extra.insert(format!("authentication.kubernetes.io/{kind}-uid"), vec![uid]);
        }
    }
    if let Some(id) = claims["jti"].as_str() {
        extra.insert(CREDENTIAL.to_owned(), vec![format!("JTI={id}")]);
    }
    let groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    Ok(Identity { user, uid, groups, extra }.authenticated())
}

/// Signs tokens and knows its own signature.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
    id: String,
}

impl TokenKey {
    /// `None`: it is not of the curve P-256.
    pub(super) fn new(key: &KeyPair) -> Option<Self> {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random).ok()?;
        // Kubernetes names a key by the digest of its public half (`keyIDFromPublicKey`).
        let id = base64url(digest(&SHA256, &key.subject_public_key_info()).as_ref());
        Some(Self { pair, public: key.public_key_raw().to_vec(), id })
    }

    fn seal(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.id}).to_string();
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.expect("only a system without random numbers cannot sign");
        format!("{signed}.{}", base64url(signature.as_ref()))
    }

    /// Answers the claims of a token that this key signed.
    fn open(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&from_base64url(header)?).ok()?;
        if header["alg"].as_str() != Some("ES256") {
            return None;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public);
        key.verify(signed.as_bytes(), &from_base64url(signature)?).ok()?;
        serde_json::from_slice(&from_base64url(claims)?).ok()
    }
}

/// Says nothing of the key.
impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Tokens of a file, as kube-apiserver's `--token-auth-file` has them: `token,user,uid,"group1,group2"`.
#[derive(Default)]
pub struct StaticTokens(BTreeMap<Vec<u8>, Identity>);

impl StaticTokens {
    /// Reads the file, which others must not be able to read.
    pub fn open(file: &Path) -> Result<Self, AccessError> {
        let text = files::read(file, Readers::Owner)?;
        let text = text.ok_or_else(|| AccessError::damaged(file, "there is no such file"))?;
        Self::read(&text).map_err(|why| AccessError::damaged(file, why))
    }

    /// Reads the file's text; the error never repeats what is a secret in it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut tokens = BTreeMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |why: &str| format!("line {}: {why}", number + 1);
            let columns = columns(line).map_err(wrong)?;
            let [token, user, uid, rest @ ..] = &columns[..] else {
                return Err(wrong(&format!(
                    "3 columns are needed (token, user name, user uid), not {}",
                    columns.len()
                )));
            };
            if token.is_empty() || user.is_empty() {
                return Err(wrong("neither the token nor the user can be empty"));
            }
            let groups = rest.first().map_or("", String::as_str).split(',').map(str::trim);
            let groups = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
            let identity = Identity { user: user.clone(), uid: uid.clone(), groups, extra: BTreeMap::new() }
                .authenticated();
            if tokens.insert(key_of(token), identity).is_some() {
                return Err(wrong("the token is there twice"));
            }
        }
        Ok(Self(tokens))
    }

    fn find(&self, token: &str) -> Option<&Identity> {
        self.0.get(&key_of(token))
    }
}

/// Says nothing of the tokens.
impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values().map(|identity| &identity.user)).finish()
    }
}

/// How long it takes to find a digest says nothing about the token.
fn key_of(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

/// The columns of a line of CSV, as Go's `encoding/csv` reads them; a column cannot have several lines.
fn columns(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut columns, mut rest) = (Vec::new(), line);
    loop {
        let (column, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a quote in a column that does not begin with one");
                }
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(quoted) => quoted_column(quoted)?,
        };
        columns.push(column);
        if after.is_empty() {
            return Ok(columns);
        }
        rest = after.strip_prefix(',').ok_or("something follows the quote that ends a column")?;
    }
}

fn quoted_column(mut rest: &str) -> Result<(String, &str), &'static str> {
    let mut column = String::new();
    loop {
        let (text, after) = rest.split_once('"').ok_or("a quote does not end")?;
        column.push_str(text);
        match after.strip_prefix('"') {
            Some(more) => {
                column.push('"');
                rest = more;
            }
            None => return Ok((column, after)),
        }
    }
}
