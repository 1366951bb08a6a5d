// An issuer: npm oidc-provider, with opaque access tokens and JWTs, introspection, revocation, and keys that rotate.
//
//     node tests/sdk/issuer.mjs '{"key": "/path/of/the/private/key/of/the/gateway"}'
//
// It prints its URL as the first line, and ends with its standard input. The key is written to the path. These requests
// are not of the protocol:
//
//     POST /control/rotate          new keys sign, and the previous ones stay in the JWKS document
//     POST /control/refresh_token   a refresh token, which is active when introspected
import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import Provider from "oidc-provider";

const { key } = JSON.parse(process.argv[2]);
const API = "https://sessions.example/";

function rsa(use) {
  const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = (part) => ({ ...pair[part].export({ format: "jwk" }), kid: randomUUID(), use, alg: "RS256" });
  return { ...pair, jwk };
}

const own = rsa("sig");
const kid = "gate-key";
writeFileSync(key, own.privateKey.export({ type: "pkcs1", format: "pem" }), { mode: 0o600 });

const resource = (accessTokenFormat, audience = API) => ({
  scope: "read:sessions update:sessions", audience, accessTokenFormat, accessTokenTTL: 600, jwt: { sign: { alg: "RS256" } },
});
const resources = {
  "https://sessions.example/opaque": resource("opaque"),
  "https://sessions.example/jwt": resource("jwt"),
  "https://other.example/": resource("opaque", "https://other.example/"),
};
const plain = { redirect_uris: [], response_types: [] };
const clients = [
  { ...plain, client_id: "shop", client_secret: "shop-secret", grant_types: ["client_credentials"] },
  { ...plain, client_id: "gate way:1", client_secret: "s3cret %+/:~", grant_types: [] },
  {
    ...plain, client_id: "gate", grant_types: [], token_endpoint_auth_method: "private_key_jwt",
    token_endpoint_auth_signing_alg: "RS256",
    jwks: { keys: [{ ...own.publicKey.export({ format: "jwk" }), kid, use: "sig", alg: "RS256" }] },
  },
];

// What was issued, whichever keys sign: the adapter that comes with the package is another one for each provider.
const stored = new Map();
class Adapter {
  constructor(model) {
    this.key = (id) => `${model}:${id}`;
  }
  async upsert(id, payload) {
    stored.set(this.key(id), payload);
  }
  async find(id) {
    return stored.get(this.key(id));
  }
  async destroy(id) {
    stored.delete(this.key(id));
  }
  async consume() {}
  async revokeByGrantId() {}
  async findByUid() {}
  async findByUserCode() {}
}

let signing = [];
let provider;
let handle;

function rotate(issuer) {
  signing = [rsa("sig").jwk("privateKey"), ...signing].slice(0, 3);
  provider = new Provider(issuer, {
    adapter: Adapter,
    clients,
    jwks: { keys: signing },
    cookies: { keys: ["of this test"] },
    scopes: ["openid", "offline_access", "read:sessions", "update:sessions"],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, name) => resources[name],
        useGrantedResource: () => true,
      },
    },
  });
  handle = provider.callback();
}

async function refreshToken() {
  const grant = new provider.Grant({ accountId: "somebody", clientId: "shop" });
  const grantId = await grant.save();
  const client = await provider.Client.find("shop");
  return new provider.RefreshToken({
    accountId: "somebody", client, grantId, gty: "authorization_code", scope: "read:sessions offline_access",
  }).save();
}

const server = createServer(async (request, response) => {
  switch (request.url) {
    case "/control/rotate":
      rotate(provider.issuer);
      return response.end();
    case "/control/refresh_token":
      return response.end(await refreshToken());
    default:
      return handle(request, response);
  }
});
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  rotate(issuer);
  console.log(issuer);
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
