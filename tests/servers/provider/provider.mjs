// oidc-provider over TLS on a free loopback port. The first argument is JSON: token lifetimes, clients, certificate.
// Prints its port. POST /revoke-everything revokes every grant. POST /grants creates the number of sign-ins in its
// body, without a browser. The domain of an account is its group. GET /story returns the result of every refresh.
import { readFileSync } from "node:fs";
import { AsyncLocalStorage } from "node:async_hooks";
import https from "node:https";
import { generateKeyPairSync } from "node:crypto";
import Provider, { errors } from "oidc-provider";

const wanted = JSON.parse(process.argv[2]);
const stored = new Map();
const path = new AsyncLocalStorage();

class Adapter {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  find(id) {
    const row = stored.get(this.key(id));
    if (row && this.model === "DeviceCode" && path.getStore() === "/token") this.notTooOften(row);
    return row && (!row.expiresAt || row.expiresAt > Date.now()) ? row.payload : undefined;
  }
  notTooOften(row) {
    const now = Date.now(), before = row.polledAt ?? 0;
    row.polledAt = now;
    if (now - before < 1000) throw new errors.SlowDown();
  }
  findByUid(uid) {
    return [...stored.values()].find((row) => row.model === this.model && row.payload.uid === uid)?.payload;
  }
  findByUserCode(code) {
    return [...stored.values()].find((row) => row.model === this.model && row.payload.userCode === code)?.payload;
  }
  upsert(id, payload, expiresIn) {
    stored.set(this.key(id), { model: this.model, payload, expiresAt: expiresIn && Date.now() + expiresIn * 1000 });
  }
  consume(id) { stored.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000); }
  destroy(id) { stored.delete(this.key(id)); }
  revokeByGrantId(grantId) {
    for (const [key, row] of stored) if (row.payload.grantId === grantId) stored.delete(key);
  }
}

const story = [];

async function grants(provider, count) {
  const client = await provider.Client.find(wanted.clients[0].client_id);
  const scope = "openid email offline_access";
  const made = [];
  for (let number = 0; number < count; number += 1) {
    const accountId = `${number}@x.test`;
    const grant = new provider.Grant({ accountId, clientId: client.clientId });
    grant.addOIDCScope(scope);
    const grantId = await grant.save();
    const token = new provider.RefreshToken({ accountId, client, grantId, scope, gty: "authorization_code" });
    made.push(await token.save());
  }
  return made;
}

async function text(request) {
  let body = "";
  for await (const part of request) body += part;
  return body;
}

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const server = https.createServer({ key: readFileSync(wanted.key), cert: readFileSync(wanted.certificate) });

server.listen(wanted.port ?? 0, "127.0.0.1", () => {
  const issuer = `https://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    adapter: Adapter,
    clients: wanted.clients,
    cookies: { keys: ["a cookie key of the test provider"] },
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "test" }] },
    claims: { openid: ["sub", "groups"], email: ["email"] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: id, groups: [id.split("@")[1]] }) }),
    features: { introspection: { enabled: true, allowedPolicy: () => true }, revocation: { enabled: true },
      clientCredentials: { enabled: true }, deviceFlow: { enabled: true } },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    // The mail server decides who may open a shared mailbox; here the token response carries that decision.
    extraTokenClaims: () => ({ mailbox: "shared@x.test" }),
    ttl: { AccessToken: wanted.accessTokenSeconds, RefreshToken: 86400, Grant: 86400, Session: 86400, IdToken: 600, Interaction: 600 },
  });
  const note = (ctx, error) => {
    if (ctx.oidc.params?.grant_type !== "refresh_token") return;
    story.push({ presented: ctx.oidc.params.refresh_token, issued: ctx.body?.refresh_token ?? null, error: error?.message ?? null });
  };
  provider.on("grant.success", note);
  provider.on("grant.error", note);
  const answer = provider.callback();
  server.on("request", (request, response) => {
    if (request.method === "POST" && request.url === "/revoke-everything") {
      for (const key of [...stored.keys()]) if (!key.startsWith("Client:")) stored.delete(key);
      response.end("done\n");
      return;
    }
    if (request.method === "POST" && request.url === "/grants") {
      text(request).then((body) => grants(provider, Number(body))).then((made) => response.end(JSON.stringify(made)));
      return;
    }
    if (request.url === "/story") {
      response.end(JSON.stringify(story));
      return;
    }
    path.run(request.url, () => answer(request, response));
  });
  console.log(server.address().port);
});
