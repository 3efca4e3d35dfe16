use std::io::Write as _;
#[test]
fn dump() {
    let Ok(name) = std::env::var("DUMP") else { return };
    let family = orlop_controllers::oracle::FAMILIES.iter().find(|f| f.name == name).unwrap();
    let path = orlop_core::oracle::shared(&format!("oracle/{name}.jsonl.gz")).unwrap();
    let mut out = std::fs::File::create("/tmp/dump.jsonl").unwrap();
    for case in orlop_core::oracle::read(&path) {
        let got = (family.answer)(&case.input);
        let ok = (family.agrees)(&case.input, &case.expected, &got);
        if !ok {
            let text = match &got { orlop_core::oracle::Answer::Output(v) => v.clone(), orlop_core::oracle::Answer::Error(e) => serde_json::json!({"error": e}) };
            writeln!(out, "{}", serde_json::json!({"id": case.id, "got": text})).unwrap();
        }
    }
}
