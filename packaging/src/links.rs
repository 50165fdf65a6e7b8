//! The links of all Markdown files of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders without documents of ours.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// A Markdown file.
struct Document {
    /// Relative to the repository.
    path: PathBuf,
    /// The lines outside fenced code.
    lines: Vec<String>,
}

/// A link to a file of the repository.
struct Link {
    /// The heading of the second level above the link.
    section: String,
    /// The file, relative to the repository.
    path: PathBuf,
    anchor: Option<String>,
}

#[test]
fn every_link_has_a_target() {
    let documents = documents();
    assert!(documents.len() > 20, "only {} documents were found", documents.len());
    let anchors: BTreeMap<&Path, BTreeSet<String>> =
        documents.iter().map(|document| (document.path.as_path(), document.anchors())).collect();
    let mut dead = Vec::new();
    for document in &documents {
        for Link { path, anchor, .. } in document.links() {
            let exists = match (&anchor, anchors.get(path.as_path())) {
                (Some(anchor), Some(anchors)) => anchors.contains(anchor),
                (Some(_), None) => false,
                (None, _) => repository().join(&path).exists(),
            };
            if !exists {
                dead.push(format!("{}: {} {anchor:?}", document.path.display(), path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "these links lead nowhere: {dead:#?}");
}

/// The package has the pages of `docs/` alone, without the folders in it. The index names the others under `Develop`.
#[test]
fn a_page_of_the_package_links_to_pages_of_the_package() {
    let is_packaged = |path: &Path| path.parent() == Some(Path::new("docs"));
    for document in documents().iter().filter(|document| is_packaged(&document.path)) {
        let in_index = document.path.ends_with("README.md");
        for Link { section, path, .. } in document.links() {
            let is_for_developers = in_index && section == "Develop";
            let shown = path.display();
            assert!(
                is_packaged(&path) || is_for_developers,
                "{} links to {shown}, which is not in the package",
                document.path.display()
            );
        }
    }
}

#[test]
fn the_index_has_every_page() {
    let documents = documents();
    let index = documents.iter().find(|document| document.path.ends_with("docs/README.md")).unwrap();
    let linked: BTreeSet<PathBuf> = index.links().into_iter().map(|link| link.path).collect();
    for document in documents.iter().filter(|document| document.path.starts_with("docs")) {
        let path = &document.path;
        assert!(linked.contains(path) || *path == index.path, "{} is not in the index", path.display());
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents() -> Vec<Document> {
    let mut documents = Vec::new();
    collect(Path::new(""), &mut documents);
    documents
}

fn collect(folder: &Path, documents: &mut Vec<Document>) {
    for entry in fs::read_dir(repository().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = folder.join(&name);
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(&path, documents);
            }
        } else if name.ends_with(".md") {
            let text = fs::read_to_string(repository().join(&path)).unwrap();
            documents.push(Document { path, lines: prose(&text) });
        }
    }
}

/// Returns the lines outside fenced code.
fn prose(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line.to_owned());
        }
    }
    lines
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

impl Document {
    fn links(&self) -> Vec<Link> {
        let folder = self.path.parent().unwrap();
        let mut links = Vec::new();
        let mut section = String::new();
        for line in &self.lines {
            if let Some(title) = line.strip_prefix("## ") {
                title.clone_into(&mut section);
            }
            for rest in without_code(line).split("](").skip(1) {
                let target = rest.split(')').next().unwrap();
                // Other protocols, and the items of rustdoc.
                if target.contains("://") || target.contains("::") {
                    continue;
                }
                let (path, anchor) = match target.split_once('#') {
                    Some((path, anchor)) => (path, Some(anchor.to_owned())),
                    None => (target, None),
                };
                let path = if path.is_empty() { self.path.clone() } else { normal(&folder.join(path)) };
                links.push(Link { section: section.clone(), path, anchor });
            }
        }
        links
    }

    /// The anchors of the headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for line in self.lines.iter().filter(|line| line.starts_with('#')) {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let anchor: String = title
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let copies = (1..).map(|number| format!("{anchor}-{number}"));
            let free = [anchor.clone()].into_iter().chain(copies).find(|anchor| !anchors.contains(anchor));
            anchors.extend(free);
        }
        anchors
    }
}

/// Resolves `..` without a look at the file system.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, component| {
        match component {
            Component::ParentDir => {
                assert!(normal.pop(), "{} leaves the repository", path.display());
            }
            Component::Normal(name) => normal.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => (),
        }
        normal
    })
}
