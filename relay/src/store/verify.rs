//! Walks the whole data file before LMDB maps it.
//!
//! LMDB trusts its file: a damaged page can make it read outside the map and end the process. So
//! every page that can be reached is checked first, with plain reads: its number and kind, that
//! every node lies inside its page, that keys ascend, that no page is used twice or free and used at
//! once, and that counts agree. What passes may still hold damaged *values*; those carry a check
//! of their own (`codec`). Cost: one sequential-ish read of the file, about 1 s per GB in the page cache.
//!
//! The layout is that of LMDB 0.9.70 data version 1, 64-bit little-endian (`mdb.c`: MDB_meta,
//! MDB_page, MDB_node).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::StoreError;
use super::directory::system;

const MAGIC: u32 = 0xBEEF_C0DE;
const DATA_VERSION: u32 = 1;
const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
const META_PAGES: u64 = 2;
const PAGE_BYTES_MIN: usize = 512;
const PAGE_BYTES_MAX: usize = 32 * 1024;
/// LMDB's CURSOR_STACK.
const DEPTH_MAX: u16 = 32;
/// Named databases that are walked; ours are six.
const DATABASES_MAX: u64 = 64;
const NO_PAGE: u64 = u64::MAX;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;
const KINDS: u16 = BRANCH | LEAF | OVERFLOW | META | 0x20 | 0x40;

const BIG_DATA: u16 = 0x01;
const SUB_DATABASE: u16 = 0x02;
/// A database with integer keys: the list of free pages.
const INTEGER_KEY: u16 = 0x08;

/// Why a file does not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Not an LMDB file at all.
    Foreign(&'static str),
    /// An LMDB file with damage.
    Damaged(String),
    System(StoreError),
}

type Checked<T> = Result<T, Flaw>;

fn damaged<T>(what: impl Into<String>) -> Checked<T> {
    Err(Flaw::Damaged(what.into()))
}

/// Checks the file at `path`, which must exist and not be in use.
pub(super) fn verify(path: &Path) -> Checked<()> {
    let file = File::open(path).map_err(|error| Flaw::System(system(path, &error)))?;
    let bytes = file.metadata().map_err(|error| Flaw::System(system(path, &error)))?.len();
    let first = Meta::read(&file, path, 0, bytes)?;
    let second = Meta::read(&file, path, first.page_bytes as u64, bytes)?;
    if second.page_bytes != first.page_bytes {
        return damaged("the two roots disagree about the page size");
    }
    let meta = if second.transaction > first.transaction { second } else { first };
    let pages = bytes / meta.page_bytes as u64;
    let words = usize::try_from(pages.div_ceil(64)).unwrap_or(usize::MAX);
    let mut walk = Walk {
        file: &file,
        path,
        page_bytes: meta.page_bytes,
        pages,
        next_page: meta.last_page.saturating_add(1),
        used: vec![0; words],
        databases: 0,
    };
    walk.database(&meta.main, Content::Main)?;
    walk.database(&meta.free, Content::FreePages)
}

struct Meta {
    page_bytes: usize,
    free: Database,
    main: Database,
    last_page: u64,
    transaction: u64,
}

impl Meta {
    fn read(file: &File, path: &Path, at: u64, bytes: u64) -> Checked<Self> {
        const LEN: usize = PAGE_HEADER + 136;
        if bytes < at + LEN as u64 {
            return if at == 0 {
                Err(Flaw::Foreign("it is too short"))
            } else {
                damaged("it was cut short")
            };
        }
        let mut page = [0; LEN];
        read_at(file, path, &mut page, at)?;
        let field = &page[PAGE_HEADER..];
        if u32_at(field, 0) != Some(MAGIC) {
            return if at == 0 {
                Err(Flaw::Foreign("it is another kind of file"))
            } else {
                damaged("the second root is overwritten")
            };
        }
        if u16_at(&page, 10).is_none_or(|flags| flags & META == 0) {
            return damaged("a root is overwritten");
        }
        if u32_at(field, 4) != Some(DATA_VERSION) {
            return Err(Flaw::Foreign("it has another version of LMDB's format"));
        }
        let root = |at| Database::read(field.get(at..).unwrap_or_default());
        let (Some(free), Some(main), Some(last_page), Some(transaction)) =
            (root(24), root(72), u64_at(field, 120), u64_at(field, 128))
        else {
            return damaged("a root is cut short");
        };
        let page_bytes = free.pad as usize;
        if !page_bytes.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes)
        {
            return damaged("the page size is impossible");
        }
        Ok(Self { page_bytes, free, main, last_page, transaction })
    }
}

/// MDB_db.
struct Database {
    pad: u32,
    flags: u16,
    depth: u16,
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
    root: u64,
}

impl Database {
    const LEN: usize = 48;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            pad: u32_at(bytes, 0)?,
            flags: u16_at(bytes, 4)?,
            depth: u16_at(bytes, 6)?,
            branches: u64_at(bytes, 8)?,
            leaves: u64_at(bytes, 16)?,
            overflows: u64_at(bytes, 24)?,
            entries: u64_at(bytes, 32)?,
            root: u64_at(bytes, 40)?,
        })
    }
}

/// What the values of a database are.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    /// Named databases.
    Main,
    /// Lists of free pages, keyed by transaction.
    FreePages,
    /// Bytes.
    Values,
}

/// Pages and entries met while walking one database.
#[derive(Default)]
struct Tally {
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
}

struct Walk<'a> {
    file: &'a File,
    path: &'a Path,
    page_bytes: usize,
    /// Whole pages in the file.
    pages: u64,
    /// The first page number that was never used.
    next_page: u64,
    /// One bit a page of the file.
    used: Vec<u64>,
    databases: u64,
}

impl Walk<'_> {
    fn database(&mut self, database: &Database, content: Content) -> Checked<()> {
        self.databases += 1;
        if self.databases > DATABASES_MAX {
            return damaged("it has too many tables");
        }
        // Ours have no flags; the list of free pages has integer keys.
        let flags = if content == Content::FreePages { INTEGER_KEY } else { 0 };
        if database.flags & 0xff != flags {
            return Err(Flaw::Foreign("its tables are of another kind"));
        }
        let mut tally = Tally::default();
        if database.root == NO_PAGE {
            if database.depth != 0 || database.entries != 0 {
                return damaged("a table has entries and no root");
            }
        } else {
            if database.depth == 0 || database.depth > DEPTH_MAX {
                return damaged("a table has an impossible depth");
            }
            self.subtree(database.root, database.depth, content, &mut tally)?;
        }
        let counted = [tally.branches, tally.leaves, tally.overflows, tally.entries];
        let claimed = [database.branches, database.leaves, database.overflows, database.entries];
        if counted == claimed { Ok(()) } else { damaged("the counts of a table are wrong") }
    }

    /// `depth` levels are left, this page included; so the recursion is bounded.
    fn subtree(
        &mut self,
        page: u64,
        depth: u16,
        content: Content,
        tally: &mut Tally,
    ) -> Checked<()> {
        self.claim(page, 1)?;
        let bytes = self.page(page)?;
        let kind = if depth == 1 { LEAF } else { BRANCH };
        let nodes = Nodes::read(&bytes, page, kind)?;
        if kind == LEAF {
            tally.leaves += 1;
            return self.leaf(&nodes, content, tally);
        }
        tally.branches += 1;
        // LMDB itself may leave one child in a branch of the list of free pages (its ITS#8336).
        if nodes.offsets.len() < 2 && content != Content::FreePages {
            return damaged("a branch has a single child");
        }
        for index in 0..nodes.offsets.len() {
            let node = nodes.node(index)?;
            let child = u64::from(node.low) | u64::from(node.flags) << 32;
            self.subtree(child, depth - 1, content, tally)?;
        }
        Ok(())
    }

    fn leaf(&mut self, nodes: &Nodes<'_>, content: Content, tally: &mut Tally) -> Checked<()> {
        let mut previous: Option<&[u8]> = None;
        for index in 0..nodes.offsets.len() {
            let node = nodes.node(index)?;
            tally.entries += 1;
            if content == Content::FreePages {
                let ascends = previous.is_none_or(|key| u64_at(key, 0) < u64_at(node.key, 0));
                if node.key.len() != 8 || !ascends {
                    return damaged("the list of free pages is out of order");
                }
            } else if previous.is_some_and(|key| key >= node.key) {
                return damaged("keys are out of order");
            }
            previous = Some(node.key);
            let len = node.low as usize;
            let big;
            let data = match node.flags {
                0 | SUB_DATABASE => match node.rest.get(..len) {
                    Some(data) => data,
                    None => return damaged("a value reaches over the end of its page"),
                },
                BIG_DATA => {
                    let Some(first) = u64_at(node.rest, 0) else {
                        return damaged("a value reaches over the end of its page");
                    };
                    big = self.overflow(first, len, tally)?;
                    &big
                }
                _ => return damaged("a node is of an unknown kind"),
            };
            match (content, node.flags == SUB_DATABASE) {
                (Content::Main, true) => match Database::read(data) {
                    Some(database) if data.len() == Database::LEN => {
                        self.database(&database, Content::Values)?;
                    }
                    _ => return damaged("a table has no root"),
                },
                (Content::Main, false) | (Content::Values, false) => {}
                (Content::FreePages, false) => self.free_pages(data)?,
                (Content::FreePages | Content::Values, true) => {
                    return damaged("a value is marked as a table");
                }
            }
        }
        Ok(())
    }

    /// The value of `len` bytes in the overflow pages from `first`.
    fn overflow(&mut self, first: u64, len: usize, tally: &mut Tally) -> Checked<Vec<u8>> {
        let count = (PAGE_HEADER + len).div_ceil(self.page_bytes) as u64;
        self.claim(first, count)?;
        let header = self.page(first)?;
        if u64_at(&header, 0) != Some(first)
            || u16_at(&header, 10).is_none_or(|flags| flags & KINDS != OVERFLOW)
            || u32_at(&header, 12).map(u64::from) != Some(count)
        {
            return damaged(format!("page {first} does not hold the value it should"));
        }
        tally.overflows += count;
        let mut value = vec![0; len];
        let at = first * self.page_bytes as u64 + PAGE_HEADER as u64;
        read_at(self.file, self.path, &mut value, at)?;
        Ok(value)
    }

    /// MDB_IDL: a count, then page numbers in descending order.
    fn free_pages(&mut self, data: &[u8]) -> Checked<()> {
        let words = data.len() / 8;
        let Some(count) = u64_at(data, 0).and_then(|n| usize::try_from(n).ok()) else {
            return damaged("the list of free pages is cut short");
        };
        if count >= words {
            return damaged("the list of free pages is cut short");
        }
        let mut above = self.next_page;
        for index in 1..=count {
            let page = u64_at(data, index * 8).unwrap_or(NO_PAGE);
            if page >= above || page < META_PAGES {
                return damaged("the list of free pages names impossible pages");
            }
            above = page;
            // The file may end before its last free pages.
            if page < self.pages {
                self.claim(page, 1)?;
            }
        }
        Ok(())
    }

    /// Marks pages as used, each once.
    fn claim(&mut self, first: u64, count: u64) -> Checked<()> {
        let end = first.saturating_add(count);
        if first < META_PAGES || end > self.next_page {
            return damaged(format!("page {first} cannot be in use"));
        }
        if end > self.pages {
            return damaged("it was cut short");
        }
        for page in first..end {
            let bit = 1 << (page % 64);
            match self.used.get_mut((page / 64) as usize) {
                Some(word) if *word & bit == 0 => *word |= bit,
                _ => return damaged(format!("page {page} is used twice")),
            }
        }
        Ok(())
    }

    fn page(&self, page: u64) -> Checked<Vec<u8>> {
        let mut bytes = vec![0; self.page_bytes];
        read_at(self.file, self.path, &mut bytes, page * self.page_bytes as u64)?;
        Ok(bytes)
    }
}

/// The nodes of a branch or leaf page.
struct Nodes<'a> {
    page: &'a [u8],
    number: u64,
    branch: bool,
    offsets: Vec<usize>,
}

struct Node<'a> {
    /// Length of the value, or the low half of a child's number.
    low: u32,
    flags: u16,
    key: &'a [u8],
    /// From behind the key to the end of the page.
    rest: &'a [u8],
}

impl<'a> Nodes<'a> {
    fn read(page: &'a [u8], number: u64, kind: u16) -> Checked<Self> {
        let header = (u64_at(page, 0), u16_at(page, 10), u16_at(page, 12), u16_at(page, 14));
        let (Some(own), Some(flags), Some(lower), Some(upper)) = header else {
            return damaged(format!("page {number} is cut short"));
        };
        let (lower, upper) = (usize::from(lower), usize::from(upper));
        if own != number || flags & KINDS != kind {
            return damaged(format!("page {number} is overwritten"));
        }
        if lower <= PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > page.len() {
            return damaged(format!("page {number} has impossible bounds"));
        }
        let offsets: Vec<usize> = (PAGE_HEADER..lower)
            .step_by(2)
            .filter_map(|at| u16_at(page, at).map(usize::from))
            .collect();
        if offsets.iter().any(|&offset| offset < upper || offset % 2 != 0) {
            return damaged(format!("page {number} has a node outside its bounds"));
        }
        Ok(Self { page, number, branch: kind == BRANCH, offsets })
    }

    fn node(&self, index: usize) -> Checked<Node<'a>> {
        let bytes = self.offsets.get(index).and_then(|&at| self.page.get(at..)).unwrap_or_default();
        let (Some(low), Some(flags), Some(key_len)) =
            (u32_at(bytes, 0), u16_at(bytes, 4), u16_at(bytes, 6))
        else {
            return damaged(format!("page {} has a node outside its bounds", self.number));
        };
        let Some((key, rest)) =
            bytes.get(NODE_HEADER..).and_then(|b| b.split_at_checked(usize::from(key_len)))
        else {
            return damaged(format!("page {} has a node outside its bounds", self.number));
        };
        // The first key of a branch may be empty; a leaf's never is.
        if key.is_empty() && !(self.branch && index == 0) {
            return damaged(format!("page {} has a node without a key", self.number));
        }
        Ok(Node { low, flags, key, rest })
    }
}

fn read_at(file: &File, path: &Path, buffer: &mut [u8], at: u64) -> Checked<()> {
    file.read_exact_at(buffer, at).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Flaw::Damaged("it was cut short".into())
        } else {
            Flaw::System(system(path, &error))
        }
    })
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    chunk(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    chunk(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    chunk(bytes, at).map(u64::from_le_bytes)
}
