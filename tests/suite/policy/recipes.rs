//! The recipes of docs/guides/policies.md: each is started as a gateway in front of simulated providers, and each of its
//! requests is sent. The response has to be the one that the page shows.

use crate::harness::documented::{self, Block, blocks, contains, shown_json};
use crate::harness::{Gateway, Request};
use regex::Regex;
use sessiongate::sandbox::auth0::Options;
use sessiongate::sandbox::{Auth0, Zitadel};
use tokio::runtime::Runtime;

/// The domains of the page's providers.
const TENANT: &str = "https://acme.eu.auth0.com";
const INSTANCE: &str = "https://zitadel.example.com";

/// The fenced blocks below each heading of the second level.
fn sections(page: &str) -> Vec<(String, Vec<Block>)> {
    let parts = page.split("\n## ").skip(1);
    parts.map(|part| (part.lines().next().unwrap().to_owned(), blocks(part))).collect()
}

/// The simulated providers that stand for those of the page.
struct Providers {
    runtime: Runtime,
    auth0: Auth0,
    zitadel: Zitadel,
}

impl Providers {
    fn start() -> Providers {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let free = ([127, 0, 0, 1], 0).into();
        let auth0 = runtime.block_on(Auth0::start(free, Options { rate: None, ..Options::default() }, None)).unwrap();
        let zitadel = runtime.block_on(Zitadel::start(free, Default::default(), None)).unwrap();
        Providers { runtime, auth0, zitadel }
    }

    /// A gateway with a configuration of the page, in front of these providers and on free ports.
    fn gateway(&self, yaml: &str) -> Gateway {
        let port = Regex::new(r#""[0-9.]+:80[0-9]{2}""#).unwrap();
        let yaml = yaml.replace(TENANT, &self.auth0.url()).replace(INSTANCE, &self.zitadel.url());
        let gateway = Gateway::start(&port.replace_all(&yaml, "\"127.0.0.1:0\""));
        gateway.ready();
        gateway
    }

    /// The first refresh token of the tenant's user.
    fn refresh_token(&self, gateway: &Gateway) -> String {
        let user = self.auth0.tenant().user_id().replace('|', "%7C");
        let list =
            Request::new("GET", &format!("/api/v2/users/{user}/refresh-tokens")).bearer(&self.auth0.tokens().full);
        list.send(&gateway.url()).json()["tokens"][0]["id"].as_str().unwrap().to_owned()
    }
}

/// The gateway of a recipe, with a session of its own.
struct Recipe<'a> {
    name: &'a str,
    providers: &'a Providers,
    gateway: Gateway,
    session: String,
    is_auth0: bool,
}

impl Recipe<'_> {
    /// Sends the request of a block, and compares its response. Gives the status, or what differs.
    fn send(&self, block: &str) -> Result<u16, String> {
        let (request, expected) = block.split_once("\nHTTP/1.1 ").unwrap_or_else(|| panic!("{}: {block}", self.name));
        let response = self.request(request).send(&self.url(request));
        let (status, shown) = expected.split_once("\n\n").unwrap();
        let found = response.json();
        let shown = shown_json(shown);
        match status.starts_with(&response.status.to_string()) && contains(&found, &shown) {
            true => Ok(response.status),
            false => Err(format!("{}\n{request}\nfound: {} {found}\n\n", self.name, response.status)),
        }
    }

    fn request(&self, text: &str) -> Request {
        let mut text = text.replace("{session}", &self.session);
        text = text.replace("{login_name}", &self.providers.zitadel.instance().login_name());
        if text.contains("{refresh_token}") {
            text = text.replace("{refresh_token}", &self.providers.refresh_token(&self.gateway));
        }
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let mut words = lines.next().unwrap().split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let token = match self.is_auth0 {
            true => self.providers.auth0.tokens().full,
            false => self.providers.zitadel.tokens().owner,
        };
        let request = Request::new(method, path).bearer(&token).body(body.trim());
        lines.fold(request, |request, line| {
            let (name, value) = line.split_once(": ").unwrap();
            request.header(name, value)
        })
    }

    /// The listener whose port the host names: the page has them in their order, from 8080 on.
    fn url(&self, request: &str) -> String {
        let host = request.lines().find_map(|line| line.strip_prefix("Host: localhost:"));
        let place = host.map_or(0, |port| port.parse::<usize>().unwrap() - 8080);
        format!("http://{}", self.gateway.addresses()[place])
    }
}

#[test]
fn each_recipe_passes_and_rejects_what_it_says() {
    let page = documented::page("docs/guides/policies.md");
    let providers = Providers::start();
    let sections = sections(&page);
    let configurations: Vec<&str> =
        sections[0].1.iter().filter(|block| block.language == "yaml").map(|block| block.text.as_str()).collect();
    let (mut recipes, mut faults) = (0, String::new());
    for (name, blocks) in sections[1..].iter().filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_digit())) {
        let [yaml, requests @ ..] = blocks.as_slice() else { panic!("{name}: no configuration") };
        assert!(yaml.language == "yaml" && requests.iter().all(|block| block.language == "http"), "{name}");
        // A policy by itself replaces that of the configuration for its provider, which has its name.
        let policy = yaml.text.strip_prefix("policies:\n").map(|rest| rest.split(':').next().unwrap().trim());
        let text = match policy {
            None => yaml.text.clone(),
            Some(policy) => {
                let own = |text: &&&str| text.contains(&format!("    policy: {policy}\n"));
                let around = configurations.iter().find(own).unwrap_or_else(|| panic!("{name}: no {policy}"));
                around.split("policies:\n").next().unwrap().to_owned() + &yaml.text
            }
        };
        let is_auth0 = text.contains("dialect: auth0");
        let session = match is_auth0 {
            true => providers.auth0.tenant().create_session(),
            false => providers.zitadel.instance().create_session().id,
        };
        let gateway = providers.gateway(&text);
        let recipe = Recipe { name, providers: &providers, gateway, session, is_auth0 };
        match requests.iter().map(|block| recipe.send(&block.text)).collect::<Result<Vec<u16>, String>>() {
            Err(fault) => faults.push_str(&fault),
            Ok(statuses) => {
                assert!(statuses.contains(&400) && statuses.iter().any(|one| *one < 300), "{name}: {statuses:?}");
            }
        }
        recipes += 1;
    }
    assert!(faults.is_empty(), "{faults}");
    assert_eq!(recipes, 10);
    drop(providers.runtime);
}
