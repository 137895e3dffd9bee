//! `lockprobe generate`: the documents that follow from the code.

use std::io::{Write, stdout};

use super::command::{Document, GenerateArgs, definition};
use super::status;
use crate::sinks::jsonl::schema::schema;
use crate::sinks::jsonl::snapshot;

/// Runs it.
pub fn main(args: &GenerateArgs) -> anyhow::Result<u8> {
    let mut out = stdout().lock();
    match args.what {
        Document::Man => man(&mut out)?,
        Document::Completions { shell } => {
            clap_complete::generate(shell, &mut definition(), "lockprobe", &mut out);
        }
        Document::Schema => writeln!(out, "{:#}", schema())?,
        Document::Signals => super::generate_signals::write(&mut out)?,
        Document::SnapshotSchema => writeln!(out, "{:#}", snapshot::schema())?,
    }
    Ok(0)
}

/// One page: the command, then each subcommand as a section.
fn man(out: &mut dyn Write) -> anyhow::Result<()> {
    let mut command = definition().after_long_help("");
    command.build();
    let page = clap_mangen::Man::new(command.clone()).title("LOCKPROBE").section("1");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    let mut list = Vec::new();
    page.render_subcommands_section(&mut list)?;
    // They are sections of this page, not pages of their own.
    let list = String::from_utf8_lossy(&list).replace("lockprobe\\-", "").replace("(1)", "");
    out.write_all(list.as_bytes())?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let page = clap_mangen::Man::new(sub.clone());
        writeln!(out, ".SH \"{}\"", sub.get_name().to_uppercase())?;
        let mut section = Vec::new();
        page.render_synopsis_section(&mut section)?;
        page.render_description_section(&mut section)?;
        page.render_options_section(&mut section)?;
        let section = String::from_utf8_lossy(&section);
        // Sections of a subcommand are subsections of this page.
        out.write_all(section.replace(".SH ", ".SS ").as_bytes())?;
        if let Some(examples) = sub.get_after_help() {
            writeln!(out, ".SS EXAMPLES\n.nf\n{}\n.fi", escape(&examples.to_string()))?;
        }
    }
    writeln!(out, ".SH \"EXIT STATUS\"\n.nf\n{}\n.fi", escape(status::TABLE))?;
    page.render_version_section(out)?;
    Ok(())
}

fn escape(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\\\").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}
