// Calls the module as an embedder does. `make wasm` runs this file with Node's own test runner.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const DIGEST = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
const START = 1_700_000_000;
const KEY = "9a3b6f2d0c1e4857a6b9c8d7e0f1a2b3c4d5e6f7";

const path = process.env.PYZORD_WASM;
assert.ok(path, "PYZORD_WASM must be the path of the module");
const module = await WebAssembly.compile(await readFile(path));

/// A server in a module of its own.
class Server {
    constructor() {
        this.module = new WebAssembly.Instance(module).exports;
        const secret = randomBytes(16);
        this.handle = this.module.pyzord_new(secret.readBigUInt64LE(0), secret.readBigUInt64LE(8));
    }

    /// Copies bytes into the module.
    write(bytes) {
        const buffer = Buffer.from(bytes);
        const address = this.module.pyzord_input(this.handle, buffer.length);
        new Uint8Array(this.module.memory.buffer, address, buffer.length).set(buffer);
    }

    /// Sets the accounts and the access rules, neither of which may have a warning.
    setPolicy(accounts, access) {
        this.write(access);
        this.module.pyzord_set_access(this.handle);
        this.write(accounts);
        assert.equal(this.module.pyzord_set_accounts(this.handle), 0);
    }

    /// Returns the headers of the reply to a datagram that arrives at this second; `null` without a reply.
    ask(datagram, seconds = START) {
        this.write(datagram);
        const tick = BigInt(seconds - START) * 1_000_000n;
        const length = this.module.pyzord_accept(this.handle, BigInt(seconds) * 1_000_000n, tick);
        if (length === 0) {
            return null;
        }
        const reply = new Uint8Array(this.module.memory.buffer, this.module.pyzord_reply(this.handle), length);
        const text = Buffer.from(reply).toString("latin1");
        assert.ok(text.endsWith("\n\n"), text);
        return Object.fromEntries(text.trimEnd().split("\n").map((line) => line.split(": ")));
    }

    /// Asserts the count of reports of the digest.
    assertCount(count) {
        const reply = this.ask(request("check"));
        assert.deepEqual([reply.Code, reply.Count, reply["WL-Count"]], ["200", String(count), "0"]);
    }
}

/// Returns an anonymous request.
function request(operation, thread = 5678) {
    const digest = operation === "ping" ? "" : `Op-Digest: ${DIGEST}\n`;
    return `Op: ${operation}\n${digest}Thread: ${thread}\nPV: 2.1\n\n`;
}

/// Returns a request that bob has signed at this second.
function signed(operation, seconds) {
    const text = `${request(operation).trimEnd()}\nUser: bob\nTime: ${seconds}`;
    const key = sha1("hex", `bob:${KEY}`);
    const signature = sha1("hex", sha1(undefined, text), `:${seconds}:${key}`);
    return `${text}\nSig: ${signature}\n\n`;
}

function sha1(encoding, ...parts) {
    const hash = createHash("sha1");
    parts.forEach((part) => hash.update(part));
    return hash.digest(encoding);
}

test("the module imports nothing", () => {
    assert.deepEqual(WebAssembly.Module.imports(module), []);
});

test("a ping is answered, in its thread", () => {
    const reply = new Server().ask(request("ping", 4711));
    assert.deepEqual(reply, { Code: "200", Diag: "OK", PV: "2.1", Thread: "4711" });
});

test("two reports are counted, with their times", () => {
    const server = new Server();
    assert.equal(server.ask(request("report"), START).Code, "200");
    assert.equal(server.ask(request("report"), START + 60).Code, "200");
    server.assertCount(2);
    const info = server.ask(request("info"));
    assert.deepEqual([info.Entered, info.Updated], [String(START), String(START + 60)]);
});

test("a signed report that arrives three times counts once", () => {
    const server = new Server();
    server.setPolicy(`bob : ${KEY}\n`, "check : anonymous : allow\nreport : bob : allow\n");
    assert.equal(server.ask(request("report")).Code, "403");
    const report = signed("report", START);
    for (const delay of [0, 1, 30]) {
        assert.equal(server.ask(report, START + delay).Code, "200");
    }
    server.assertCount(1);
    assert.equal(server.ask(signed("report", START + 31), START + 31).Code, "200");
    server.assertCount(2);
    assert.equal(server.ask(report.replace("Thread: 5678", "Thread: 5679")).Code, "401");
    server.assertCount(2);
});

test("what is not a request gets no reply", () => {
    const server = new Server();
    const garbage = ["", "\n", "garbage", "Code: 200\nDiag: OK\nPV: 2.1\nThread: 1\n\n", Buffer.alloc(512, 0xff)];
    for (const datagram of garbage) {
        assert.equal(server.ask(datagram), null);
    }
    assert.equal(server.ask(request("ping")).Code, "200");
});

test("a request of more than 8192 bytes is refused", () => {
    const server = new Server();
    const long = request("report").trimEnd() + "\nX: ";
    const longest = long.padEnd(8190, "x") + "\n\n";
    assert.equal(longest.length, 8192);
    assert.equal(server.ask(longest).Code, "200");
    assert.equal(server.ask(long.padEnd(8191, "x") + "\n\n").Code, "400");
    assert.equal(server.ask(long.padEnd(65505, "x") + "\n\n").Code, "400");
    server.assertCount(1);
});

test("servers of one module are apart", () => {
    const first = new Server();
    const second = Object.assign(Object.create(Server.prototype), {
        module: first.module,
        handle: first.module.pyzord_new(1n, 2n),
    });
    first.ask(request("report"));
    first.assertCount(1);
    second.assertCount(0);
    first.module.pyzord_free(first.handle);
    second.ask(request("report"));
    second.assertCount(1);
});
