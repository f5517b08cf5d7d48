"""What other people's tools say of our files: promises (PRML), statements (in-toto), signatures
(OpenSSF model signing), bills of materials (CycloneDX), results (the Hugging Face Hub). And what
somebody might try: move the goalposts, swap the rows, change a byte.
"""
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import falsify_prml as falsify
import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_models import SENTENCES

from sft_nb.all import FineTuner, Recipe, TextClassification, split
from sft_nb.certification import promise as promises
from sft_nb.certification.certificate import Certificate, sealed
from sft_nb.certification.promise import (
    check_promise, make_promise, promise_fits, read_promise, terms_of, terms_of_rows,
)
from sft_nb.certification.report import report_page
from sft_nb.certification.revocation import revoke
from sft_nb.certification.roles import Certify, judge
from sft_nb.certification.verification import verify
from sft_nb.task import DataError, SFTError

CLAIM = "accuracy >= 0.1"


@pytest.fixture(scope="module")
def desk(tiny, tmp_path_factory):
    "A saved run, its certificate as a file, its certified rows as a file."
    rng, here = np.random.default_rng(0), tmp_path_factory.mktemp("desk")
    words = sorted({w for s in SENTENCES for w in s.split()})
    rows = pd.DataFrame({
        "text": [" ".join(rng.choice(words, 8)) for _ in range(150)],
        "author": [f"author {i}" for i in rng.integers(0, 60, 150)],
    }).drop_duplicates("text")
    rows["label"] = ["good" if len(t) % 2 else "bad" for t in rows.text]
    data = split(rows, valid_size=20, certify_size=.7, seed=1, group="author")
    plan = Recipe(epochs=1, learning_rate=1e-3, batch_size=8, precision="fp32")
    tuner = FineTuner(TextClassification(), tiny("bert"), plan).fit(data.train, data.valid)
    tuner.notes.group = "author"
    run = tuner.save(here / "run")
    data.certify.to_csv(here / "certify.csv", index=False)
    found = tuner.certify(data.certify, CLAIM, ledger=here / "books.json")
    return SimpleNamespace(
        here=here, run=run, tuner=tuner, rows=data.certify, csv=here / "certify.csv",
        body=found.body, certificate=found.save(here / "cert.json"))


# --- a promise ------------------------------------------------------------------------------------

@pytest.fixture
def promised(desk, tmp_path):
    "A promise about the run and its rows, as a file."
    terms = terms_of_rows(desk.tuner.task, desk.rows, CLAIM, group="author", tuner=desk.tuner)
    return make_promise(terms, "certify.csv", author="Ada").save(tmp_path / "promise.yaml")


def test_a_promise_is_accepted_by_falsify(promised, desk, capsys):
    manifest = falsify.load_manifest(str(promised))
    assert falsify.validate_manifest(manifest) == []
    assert falsify.manifest_hash(manifest) == read_promise(promised).hash
    assert falsify.canonicalize(manifest) == promised.read_text(encoding="utf-8")
    bound = desk.body["findings"][0]["bound"]
    assert falsify.main(["verify", str(promised), "--observed", str(bound)]) == 0
    assert falsify.main(["verify", str(promised), "--observed", "0.05"]) == falsify.EXIT_FAIL
    assert falsify.main(["hash", str(promised)]) == 0
    assert read_promise(promised).hash in capsys.readouterr().out


def test_a_moved_goalpost_is_seen_by_falsify_and_by_us(promised):
    promised.write_text(promised.read_text().replace("threshold: 0.1", "threshold: 0.05"))
    assert falsify.main(["verify", str(promised), "--observed", "0.08"]) == falsify.EXIT_TAMPERED
    with pytest.raises(DataError, match="changed since it was made"):
        read_promise(promised)


def test_a_kept_promise_fits(promised, desk):
    promise = read_promise(promised)
    assert promise_fits(promise, terms_of(desk.body)) == ""
    check_promise(promised, desk.tuner, desk.rows.sample(frac=1, random_state=3), CLAIM)


CHEATS = {
    "an easier claim": (dict(claim="accuracy >= 0.05"), "accuracy >= 0.1"),
    "another metric": (dict(claim="f1_macro >= 0.1"), "accuracy >= 0.1"),
    "less confidence": (dict(confidence=.8), "confidence"),
    "fewer rows": (dict(rows=lambda rows: rows.iloc[1:]), "rows"),
    "a label turned": (
        dict(rows=lambda rows: rows.assign(label=rows.label.iloc[::-1].to_numpy())), "rows"),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_broken_promise_is_refused_before_anything_is_asked(promised, desk, cheat):
    change, word = dict(CHEATS[cheat][0]), CHEATS[cheat][1]
    rows = change.pop("rows", lambda rows: rows)(desk.rows)
    with pytest.raises(DataError, match=f"promise.*{re.escape(word)}"):
        check_promise(promised, desk.tuner, rows, **{"claim": CLAIM} | change)


@pytest.fixture(scope="module")
def luckier(desk, tiny):
    "The same run from another seed."
    plan = desk.tuner.plan.but(seed=7)
    rows = pd.read_csv(desk.csv).assign(text=lambda r: r.text + " x").head(40)
    tuner = FineTuner(TextClassification(), tiny("bert"), plan).fit(rows)
    tuner.notes.group = "author"
    return tuner


def test_the_luckiest_of_many_seeds_is_not_what_was_promised(desk, luckier, tmp_path):
    terms = terms_of_rows(desk.tuner.task, desk.rows, CLAIM, group="author", seed=42)
    path = make_promise(terms, "certify.csv").save(tmp_path / "p.yaml")
    check_promise(path, desk.tuner, desk.rows, CLAIM)
    with pytest.raises(DataError, match="seed.*42.*7"):
        check_promise(path, luckier, desk.rows, CLAIM)


def test_another_model_is_not_what_was_promised(promised, desk, luckier):
    luckier.plan, plan = desk.tuner.plan, luckier.plan
    try:
        with pytest.raises(DataError, match="weights"):
            check_promise(promised, luckier, desk.rows, CLAIM)
    finally:
        luckier.plan = plan


def test_a_promise_made_after_the_certificate_does_not_fit(promised, desk):
    early = desk.body | {"issued": "2001-01-01"}
    assert "2001-01-01" in promise_fits(read_promise(promised), terms_of(early))


@pytest.mark.parametrize("text", [
    "", "3", "[1]", "a: b", "a: &x [1]\nb: *x", "!!python/object/apply:os.system ['true']",
    "[" * 5000, "\x00", "version: prml/0.1\nversion: prml/0.1\n", "x" * 200_000,
], ids=lambda t: repr(t[:20]))
def test_whatever_else_a_file_holds_is_a_sentence(text, tmp_path):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(DataError) as e:
        read_promise(tmp_path / "p.yaml")
    assert len(str(e.value)) < 500


def test_a_comment_or_another_spelling_is_not_the_canonical_form(promised):
    promised.with_suffix(".prml.sha256").unlink()
    for change in (lambda t: "# mine\n" + t, lambda t: t.replace("'>='", '">="')):
        text = promised.read_text()
        promised.write_text(change(text))
        with pytest.raises(DataError, match="canonical"):
            read_promise(promised)
        promised.write_text(text)


def test_a_certificate_names_its_promise_and_verify_holds_it_to_it(promised, desk, tmp_path):
    "A promise forged afterwards fits claim, rows and model; the certificate names another hash."
    books = tmp_path / "books.json"
    found = desk.tuner.certify(desk.rows, CLAIM, promise=promised, ledger=books)
    kept = read_promise(promised)
    assert found.body["promise"] == kept.hash and kept.hash in report_page(found.body)

    def check(promise=None): return verify(found, desk.tuner, desk.rows, promise=promise)["promise"]
    assert check(promised).state == "checked"
    assert check().state == "not checked" and "promise=" in check().said
    forged = make_promise(kept.terms, "certify.csv", author="Ada").save(tmp_path / "forged.yaml")
    assert "names another promise" in check(forged).said and not check(forged)


def test_a_certificate_without_a_promise_cannot_be_given_one(promised, desk):
    assert desk.body["promise"] is None
    assert verify(desk.certificate, desk.tuner, desk.rows)["promise"].state == "checked"
    late = verify(desk.certificate, desk.tuner, desk.rows, promise=promised)
    assert "names no promise" in late["promise"].said and not late


def test_a_broken_promise_is_false_even_if_its_hash_is_sealed_in(promised, desk):
    body = desk.body | {"promise": read_promise(promised).hash, "issued": "2001-01-01"}
    found = verify(Certificate(sealed(body)), desk.tuner, desk.rows, promise=promised)
    assert "2001-01-01" in found["promise"].said


def test_a_promise_is_not_replaced(promised):
    with pytest.raises(DataError, match="is there already"):
        read_promise(promised).save(promised)


@pytest.mark.parametrize("claim, metric, sign, threshold", [
    ("accuracy >= 80 %", "accuracy", ">=", .8),
    ("mae <= 2", "mae", "<=", 2.),
    ("f1 >= 0.5 for every movie", "f1 for every movie", ">=", .5),
    ("f1 >= 0.5 and accuracy >= 0.6", "share of the parts that hold", ">=", 1.),
])
def test_every_claim_is_a_criterion(claim, metric, sign, threshold):
    made = make_promise(promises.Terms(claim, .95, "ab" * 32, None), "x").manifest
    assert (made["metric"], made["comparator"], made["threshold"]) == (metric, sign, threshold)
    assert falsify.validate_manifest(made) == []


def test_names_that_would_break_the_form_are_told():
    terms = promises.Terms(CLAIM, .95, "ab" * 32, None)
    assert falsify.validate_manifest(make_promise(terms, "u\u0308.csv").manifest) == []
    for bad in ("a\nb", "a\x00", ""):
        with pytest.raises(DataError, match="name"):
            make_promise(terms, bad)


# --- its command ----------------------------------------------------------------------------------

def test_promise_then_certify(desk, sft, tmp_path):
    out = tmp_path / "promise.yaml"
    told, _ = sft("promise", desk.csv, "--claim", CLAIM, "--task", "text-classification",
                  "--group", "author", "--seed", 42, "--out", out)
    assert read_promise(out).hash in told
    assert falsify.main(["verify", str(out), "--dataset", str(desk.csv)]) == 0
    certify = ("certify", desk.run, desk.csv, "--ledger", tmp_path / "books.json",
               "--promise", out)
    _, err = sft(*certify, "--claim", "accuracy >= 0.05", "--out", tmp_path / "a.json", code=2)
    assert "accuracy >= 0.1" in err and not (tmp_path / "books.json").exists()
    sft(*certify, "--claim", CLAIM, "--out", tmp_path / "b.json")
    assert Certificate.load(tmp_path / "b.json").body["promise"] == read_promise(out).hash
    check = ("verify", tmp_path / "b.json", "--model", desk.run, "--data", desk.csv)
    assert "promise (needs promise=)" in "".join(sft(*check))
    assert "promise" in "".join(sft(*check, "--promise", out)).split("checked: ")[1]


def test_a_promise_about_a_run_names_it(desk, sft, tmp_path):
    out = tmp_path / "promise.yaml"
    sft("promise", desk.csv, "--claim", CLAIM, "--model", desk.run, "--out", out)
    terms = read_promise(out).terms
    assert terms.weights == desk.body["fingerprints"]["weights"]
    assert (terms.group, terms.seed) == ("author", desk.tuner.plan.seed)
    assert promise_fits(read_promise(out), terms_of(desk.body)) == ""


@pytest.mark.parametrize("words, said", [
    ([], "--task NAME"),
    (["--task", "text-classification", "--model", "RUN"], "--model"),
    (["--task", "text-classification", "--text", "body"], "body"),
    (["--task", "text-classification", "--group", "film"], "film"),
])
def test_what_is_missing_is_told(desk, sft, tmp_path, words, said):
    words = [str(desk.run) if w == "RUN" else w for w in words]
    out = ("--out", tmp_path / "p.yaml")
    _, err = sft("promise", desk.csv, "--claim", CLAIM, *out, *words, code=2)
    assert said in err and not (tmp_path / "p.yaml").exists()


# --- the monitor: certified rows are no news ---

def test_certified_rows_handed_to_a_new_monitor_do_not_count(desk):
    monitor = Certificate(desk.body).monitor()
    said = monitor.watch(judge(desk.tuner, desk.rows.sample(frac=1, random_state=1), Certify))
    assert not monitor.losses and "certified or counted before" in said
    disguised = desk.rows.assign(text=desk.rows["text"].str.upper())
    monitor.watch(judge(desk.tuner, disguised, Certify))
    assert not monitor.losses


def test_new_rows_beside_certified_ones_count(desk):
    monitor, new = Certificate(desk.body).monitor(), desk.rows.head(3).copy()
    new["text"] = [f"new {text}" for text in new["text"]]
    new["author"] = ["one", "two", "three"]
    rows = pd.concat([desk.rows, new], ignore_index=True)
    monitor.watch(judge(desk.tuner, rows, Certify))
    assert len(monitor.losses) == 3


# --- envelopes ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def exported(desk, tmp_path_factory):
    "A copy of the run, with every envelope in it."
    from sft_nb.commands.publishing import export_certificate
    run = shutil.copytree(desk.run, tmp_path_factory.mktemp("exported") / "run")
    export_certificate(desk.certificate, model=run, out=run)
    return run


def read(run, name): return json.loads((run / name).read_text(encoding="utf-8"))


def test_the_statements_are_in_totos(exported, desk):
    from google.protobuf.json_format import Parse, ParseDict
    from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
    from in_toto_attestation.v1 import statement, statement_pb2
    for name in ("certificate.intoto.json", "test-result.intoto.json"):
        text = (exported / name).read_text(encoding="utf-8")
        pb = Parse(text, statement_pb2.Statement())
        statement.Statement.copy_from_pb(pb).validate()
    result = ParseDict(read(exported, name)["predicate"], TestResult())
    expected = "WARNED" if desk.body["warnings"] else "PASSED"
    assert (result.result, list(result.passed_tests)) == (expected, [CLAIM])


def test_the_subjects_are_hashed_as_model_signing_does(exported):
    from model_signing import hashing
    found = hashing.hash(exported).resource_descriptors()
    theirs = {d.identifier: d.digest.digest_hex for d in found}
    subjects = read(exported, "certificate.intoto.json")["subject"]
    ours = {s["name"]: s["digest"]["sha256"] for s in subjects}
    assert {"config.json", "model.safetensors", "sft_nb.json"} <= set(ours)
    assert ours == {name: theirs[name] for name in ours}


def every(tree, key):
    "All values of a key, however deep."
    if isinstance(tree, list): return [v for x in tree for v in every(x, key)]
    if not isinstance(tree, dict): return []
    inside = [v for x in tree.values() for v in every(x, key)]
    return inside + [tree[key]] if key in tree else inside


def test_the_bill_is_cyclonedxs_and_points_at_what_is_there(exported):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    text = (exported / "bom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    there, said = every(bill, "bom-ref"), bill["declarations"]
    assert len(there) == len(set(there))
    wanted = [*every(said, "target"), *every(said, "requirement"), *every(said, "assessor")]
    for refs in (*every(said["attestations"], "claims"), *every(said["claims"], "evidence")):
        wanted += refs
    assert len(wanted) == 5 and set(wanted) <= set(there)
    model = bill["components"][0]["modelCard"]
    figure, = model["quantitativeAnalysis"]["performanceMetrics"]
    assert figure["type"].startswith("accuracy")
    assert set(figure["confidenceInterval"]) == {"lowerBound"}


def test_the_results_are_the_hubs(exported, desk):
    from huggingface_hub import parse_eval_result_entries
    from huggingface_hub.repocard_data import model_index_to_eval_results
    entries = yaml.safe_load((exported / ".eval_results/certificate.yaml").read_text())
    entry, = parse_eval_result_entries(entries)
    index = yaml.safe_load((exported / "model-index.yaml").read_text())["model-index"]
    _, (result,) = model_index_to_eval_results(index)
    found = desk.body["findings"][0]
    assert entry.value == result.metric_value == found["observed"]
    assert entry.verify_token is result.verify_token is result.verified is None
    for said in (entry.notes, result.metric_name):
        assert said.count("CERTIFIED") and found["method"] in said and f"{found['n']} units" in said


def test_a_refusal_is_no_result(desk, tmp_path, capsys):
    from sft_nb.commands.publishing import export_certificate
    refused = desk.tuner.certify(desk.rows, "accuracy >= 0.9999", ledger=tmp_path / "books.json")
    assert refused.verdict == "REFUSED"
    path = refused.save(tmp_path / "refused.json")
    export_certificate(path, model=desk.run, out=tmp_path / "out")
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert names == {"certificate.intoto.json", "bom.cdx.json"}
    assert "a refusal is not a result" in capsys.readouterr().out
    assert "performanceMetrics\": []" in (tmp_path / "out" / "bom.cdx.json").read_text()


def test_the_envelopes_name_the_promise_that_was_kept(desk, promised, tmp_path, sft):
    argv = ("export-certificate", desk.certificate, "--model", desk.run, "--out", tmp_path / "x")
    sft(*argv, "--promise", promised)
    promise = read_promise(promised)
    assert read(tmp_path / "x", "certificate.intoto.json")["predicate"]["promise"] == promise.hash
    properties = read(tmp_path / "x", "bom.cdx.json")["components"][0]["properties"]
    assert {"name": "sft_nb:promise", "value": promise.hash} in properties
    terms = promises.Terms("accuracy >= 0.05", .95, promise.terms.rows, "author")
    other = make_promise(terms, "certify.csv").save(tmp_path / "other.yaml")
    _, err = sft(*argv, "--promise", other, code=2)
    assert "does not keep the promise" in err


# --- what does not belong together ----------------------------------------------------------------

def _line(name, old, new):
    def change(run, certificate):
        path = run / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return change


def _forged(**changes):
    def change(run, certificate):
        body = json.loads(certificate.read_text(encoding="utf-8"))
        certificate.write_text(json.dumps(sealed(body | changes)), encoding="utf-8")
    return change


def _unsealed(run, certificate):
    text = certificate.read_text(encoding="utf-8")
    certificate.write_text(text.replace(CLAIM, "accuracy >= 0.2", 1), encoding="utf-8")


def _other_weights(run, certificate):
    prints = json.loads(certificate.read_text(encoding="utf-8"))["fingerprints"]
    _forged(fingerprints=prints | {"weights": "0" * 64})(run, certificate)


STRANGERS = {
    "labels turned round": (_line("config.json", "bad", "good"), "config.json was changed"),
    "a file gone": (lambda run, _: (run / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "no run": (lambda run, _: (run / "sft_nb.json").unlink(), "no finished run"),
    "not as sealed": (_unsealed, "not what was sealed"),
    "expired": (_forged(issued="2001-01-01", expires="2001-12-31"), "expired on 2001-12-31"),
    "revoked": (lambda _, certificate: revoke(certificate, "Wrong labels."), "revoked on .*Wrong"),
    "other weights": (_other_weights, "other weights"),
}


@pytest.mark.parametrize("change", STRANGERS)
def test_what_does_not_belong_together_gets_no_envelope(desk, tmp_path, change):
    from sft_nb.commands.publishing import export_certificate
    run = shutil.copytree(desk.run, tmp_path / "run")
    certificate = shutil.copy(desk.certificate, tmp_path / "c.json")
    work, said = STRANGERS[change]
    work(run, tmp_path / "c.json")
    with pytest.raises(SFTError, match=said):
        export_certificate(tmp_path / "c.json", model=run, out=tmp_path / "out")
    assert certificate and not (tmp_path / "out").exists()


# --- signatures -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    "A private and a public key in PEM files, and an RSA key."
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    here, pair = tmp_path_factory.mktemp("keys"), ec.generate_private_key(ec.SECP256R1())

    def private(key, lock):
        return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, lock)
    (here / "private.pem").write_bytes(private(pair, s.NoEncryption()))
    (here / "locked.pem").write_bytes(private(pair, s.BestAvailableEncryption(b"word")))
    public = pair.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    (here / "public.pem").write_bytes(public)
    (here / "rsa.pem").write_bytes(private(rsa.generate_private_key(65537, 2048), s.NoEncryption()))
    return here


def verified(run, keys):
    "Does model-signing's own command accept the folder?"
    command = [sys.executable, "-m", "model_signing", "verify", "key", run,
               "--signature", run / "model.sig", "--public_key", keys / "public.pem"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode == 0


@pytest.fixture
def signed(exported, desk, keys, tmp_path, sft):
    "The exported run, signed on the command line."
    run = shutil.copytree(exported, tmp_path / "run")
    sft("sign", run, "--key", keys / "private.pem", "--certificate", desk.certificate)
    return run


BYTES = ("config.json", "certificate.json", "model.safetensors", "bom.cdx.json", "sft_nb.json")


def test_model_signing_accepts_the_run_and_not_one_byte_more(signed, keys):
    assert verified(signed, keys)
    for name in BYTES:
        old = (signed / name).read_bytes()
        (signed / name).write_bytes(old[:-2] + bytes([old[-2] ^ 1]) + old[-1:])
        assert not verified(signed, keys), name
        (signed / name).write_bytes(old)
    (signed / "more.txt").write_text("")
    assert not verified(signed, keys)


def test_a_signed_run_is_loaded_and_stays_signed(signed, keys, sft):
    FineTuner.load(signed)
    assert Certificate.load(signed / "certificate.json")
    assert verified(signed, keys)
    sft("sign", signed, "--key", keys / "private.pem")  # again, with the certificate that is there
    assert verified(signed, keys)


def test_the_envelope_is_in_totos(signed):
    import base64
    envelope = read(signed, "model.sig")["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    names = {r["name"] for r in statement["predicate"]["resources"]}
    assert {"certificate.json", "config.json", "bom.cdx.json"} <= names


@pytest.mark.parametrize("key, said", [
    ("rsa.pem", "elliptic curve"), ("public.pem", "no private key"), ("no.pem", "no private key"),
    ("locked.pem", "password"),
])
def test_a_key_that_cannot_sign_is_a_sentence(desk, keys, tmp_path, sft, key, said):
    run = shutil.copytree(desk.run, tmp_path / "run")
    argv = ("sign", run, "--key", keys / key, "--certificate", desk.certificate)
    _, err = sft(*argv, code=2)
    assert said in err and not (run / "model.sig").exists()


def test_a_certificate_of_another_run_is_not_signed(desk, luckier, keys, tmp_path, sft):
    run = luckier.save(tmp_path / "other")
    argv = ("sign", run, "--key", keys / "private.pem")
    _, err = sft(*argv, "--certificate", desk.certificate, code=2)
    assert "other weights" in err and not (run / "certificate.json").exists()
    _, err = sft(*argv, code=2)
    assert "certificate" in err and not (run / "model.sig").exists()


# --- without the libraries ------------------------------------------------------------------------

@pytest.mark.parametrize("gone, argv, words", [
    ("in_toto_attestation", "export", "A statement for others needs in_toto_attestation"),
    ("cyclonedx", "export", "A bill of materials needs cyclonedx"),
    ("model_signing", "sign", "Signing a model needs model_signing"),
    ("OpenSSL", "sign", "Signing a model needs OpenSSL"),
])
def test_a_missing_library_is_one_line(desk, keys, tmp_path, sft, monkeypatch, gone, argv, words):
    for name in [n for n in sys.modules if n.partition(".")[0] == gone]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, gone, None)
    run = shutil.copytree(desk.run, tmp_path / "run")
    commands = {
        "export": ("export-certificate", desk.certificate, "--model", run, "--out", run / "x"),
        "sign": ("sign", run, "--key", keys / "private.pem", "--certificate", desk.certificate),
    }
    _, err = sft(*commands[argv], code=2)
    assert words in err and 'pip install "sft_nb[certify]"' in err
    assert not (run / "x").exists() and not (run / "model.sig").exists()


def test_nothing_of_somebody_elses_is_replaced(desk, tmp_path, sft):
    (tmp_path / "bom.cdx.json").write_text("{}")
    argv = ("export-certificate", desk.certificate, "--model", desk.run, "--out", tmp_path)
    _, err = sft(*argv, code=2)
    assert "is not ours" in err and [p.name for p in tmp_path.iterdir()] == ["bom.cdx.json"]
