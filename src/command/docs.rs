//! The reply of COMMAND DOCS.

use super::introspect::{listed, look_up};
use super::spec::{Flags, Spec};
use super::syntax::{self, Arg, ArgKind};
use super::table::{CommandId, Table};
use crate::resp::{Args, Reply};

/// COMMAND DOCS [name ...]: a map from name to documentation; names that are not known are left out.
pub fn command_docs(table: &Table, args: Args<'_>, reply: &mut Reply<'_>) {
    let ids: Vec<CommandId> = if args.len() == 2 {
        listed(table).collect()
    } else {
        args.iter_from(2).filter_map(|name| look_up(table, name)).collect()
    };
    reply.map(ids.len());
    for id in ids {
        reply.bulk(table.spec(id).name.as_bytes());
        write_docs(table.spec(id), reply);
    }
}

fn write_docs(spec: &Spec, reply: &mut Reply<'_>) {
    let is_system = spec.flags.has(Flags::SYSCMD);
    // No panic for a row that can't be read: a test reads them all.
    let arguments = syntax::parse(spec).unwrap_or_default();
    let fields = 3
        + usize::from(!spec.doc.complexity.is_empty())
        + usize::from(is_system || spec.deprecated.is_some())
        + 2 * usize::from(spec.deprecated.is_some())
        + usize::from(!arguments.is_empty())
        + usize::from(!spec.subcommands.is_empty());
    reply.map(fields);
    let field = |reply: &mut Reply<'_>, name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    field(reply, "summary", spec.doc.summary);
    field(reply, "since", spec.doc.since);
    field(reply, "group", spec.doc.group.name());
    if !spec.doc.complexity.is_empty() {
        field(reply, "complexity", spec.doc.complexity);
    }
    if is_system || spec.deprecated.is_some() {
        reply.bulk(b"doc_flags");
        reply.set(usize::from(is_system) + usize::from(spec.deprecated.is_some()));
        if spec.deprecated.is_some() {
            reply.simple("deprecated");
        }
        if is_system {
            reply.simple("syscmd");
        }
    }
    if let Some(deprecated) = &spec.deprecated {
        field(reply, "deprecated_since", deprecated.since);
        field(reply, "replaced_by", deprecated.replaced_by);
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        write_arguments(&arguments, reply);
    }
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        for sub in spec.subcommands {
            reply.bulk(sub.name.as_bytes());
            write_docs(sub, reply);
        }
    }
}

fn write_arguments(args: &[Arg], reply: &mut Reply<'_>) {
    reply.array(args.len());
    for arg in args {
        let is_group = matches!(arg.kind, ArgKind::OneOf | ArgKind::Block);
        let flags: Vec<&str> = [
            (arg.is_optional, "optional"),
            (arg.is_multiple, "multiple"),
            (arg.is_token_multiple, "multiple_token"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
        let fields = 3
            + usize::from(arg.key_spec.is_some())
            + usize::from(arg.token.is_some())
            + usize::from(!flags.is_empty());
        reply.map(fields);
        reply.bulk(b"name");
        reply.bulk(arg.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(arg.kind.name().as_bytes());
        if !is_group {
            reply.bulk(b"display_text");
            reply.bulk(arg.name.as_bytes());
        }
        if let Some(index) = arg.key_spec {
            reply.bulk(b"key_spec_index");
            reply.count(index);
        }
        if let Some(token) = arg.token {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            for flag in flags {
                reply.simple(flag);
            }
        }
        if is_group {
            reply.bulk(b"arguments");
            write_arguments(&arg.parts, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reply::value_end;
    use crate::resp::{OwnedArgs, Proto};

    fn docs(proto: Proto, words: &[&str]) -> String {
        let table = Table::new(&[]).unwrap();
        let args = OwnedArgs::collect(["command", "docs"].iter().chain(words).map(|word| word.as_bytes()));
        let mut out = Vec::new();
        command_docs(&table, args.as_args(), &mut Reply::new(&mut out, proto));
        assert_eq!(value_end(&out), Some(out.len()), "one whole value");
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn the_documentation_of_a_command() {
        assert_eq!(
            docs(Proto::Resp3, &["QUIT", "nosuch"]),
            "%1 $4 quit %7 $7 summary $22 Closes the connection. $5 since $5 1.0.0 $5 group $10 connection \
             $10 complexity $4 O(1) $9 doc_flags ~1 +deprecated $16 deprecated_since $5 7.2.0 \
             $11 replaced_by $27 just closing the connection "
        );
        assert_eq!(
            docs(Proto::Resp2, &["memory|usage"]),
            "*2 $12 memory|usage *10 $7 summary $37 Estimates the memory that a key uses. $5 since $5 4.0.0 \
             $5 group $6 server $10 complexity $38 O(N) where N is the number of samples. $9 arguments *2 \
             *8 $4 name $3 key $4 type $3 key $12 display_text $3 key $14 key_spec_index :0 \
             *10 $4 name $5 count $4 type $7 integer $12 display_text $5 count $5 token $7 SAMPLES $5 flags *1 +optional "
        );
    }

    #[test]
    fn a_choice_has_parts_and_no_display_text() {
        let text = docs(Proto::Resp3, &["client|caching"]);
        assert!(text.contains(
            "$9 arguments *1 %3 $4 name $6 option $4 type $5 oneof $9 arguments *2 %4 $4 name $3 yes"
        ));
    }

    #[test]
    fn all_commands_with_their_subcommands() {
        let text = docs(Proto::Resp3, &[]);
        let table = Table::new(&[]).unwrap();
        assert!(text.starts_with(&format!("%{} ", listed(&table).count())));
        assert!(text.contains("$11 subcommands %2 $11 module|help %"));
        docs(Proto::Resp2, &[]);
    }
}
