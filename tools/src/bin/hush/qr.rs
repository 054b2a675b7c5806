//! A pairing link as a picture: on the terminal, or in a file that goes away with the pairing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use qrcode::render::{svg, unicode};
use qrcode::{Color, QrCode};

/// Pixels of a module in a PNG.
const MODULE_PIXELS: usize = 8;
/// Modules of white around the code (ISO/IEC 18004 asks for 4).
const QUIET_MODULES: usize = 4;

/// What a file is written as, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Svg,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
        match ending.as_deref() {
            Some("png") => Ok(Self::Png),
            Some("svg") => Ok(Self::Svg),
            Some(_) | None => bail!(
                "{} ends neither in .png nor in .svg: a QR code is written as one of these",
                path.display()
            ),
        }
    }
}

/// A file with a secret in it; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct QrFile(PathBuf);

impl QrFile {
    /// Writes a new file that only its owner can read.
    pub(crate) fn create(path: &Path, format: Format, text: &str) -> Result<Self> {
        let picture = match format {
            Format::Png => png(text)?,
            Format::Svg => {
                QrCode::new(text)?.render::<svg::Color>().quiet_zone(true).build().into_bytes()
            }
        };
        let mut file = private(path).with_context(|| match path.symlink_metadata() {
            Ok(_) => format!("{} exists already: name another file", path.display()),
            Err(_) => format!("cannot write {}", path.display()),
        })?;
        // From here on there is something to remove, whatever happens.
        let made = Self(path.to_owned());
        file.write_all(&picture)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(made)
    }
}

impl Drop for QrFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            let path = self.0.display();
            let _gone = writeln!(
                io::stderr(),
                "hush: {path} could not be removed ({error}): remove it, it holds the link"
            );
        }
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// On the terminal, half a character a module; empty where the text is too long for any code.
pub(crate) fn picture(text: &str) -> String {
    QrCode::new(text.as_bytes())
        .map(|code| code.render::<unicode::Dense1x2>().quiet_zone(true).build())
        .unwrap_or_default()
}

/// One bit a pixel, white is 1.
fn png(text: &str) -> Result<Vec<u8>> {
    let code = QrCode::new(text)?;
    let modules = code.width() + 2 * QUIET_MODULES;
    let side = modules * MODULE_PIXELS;
    let is_dark = |x: usize, y: usize| {
        let at = |pixel: usize| (pixel / MODULE_PIXELS).checked_sub(QUIET_MODULES);
        match (at(x), at(y)) {
            (Some(x), Some(y)) if x < code.width() && y < code.width() => {
                code[(x, y)] == Color::Dark
            }
            (Some(_) | None, Some(_) | None) => false,
        }
    };
    let row_bytes = side.div_ceil(8);
    let mut pixels = vec![0_u8; row_bytes * side];
    for y in 0..side {
        for x in (0..side).filter(|&x| !is_dark(x, y)) {
            pixels[y * row_bytes + x / 8] |= 0x80 >> (x % 8);
        }
    }
    let mut out = Vec::new();
    let side = u32::try_from(side)?;
    let mut encoder = png::Encoder::new(&mut out, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "hushwire:pair:abcdefghijklmnopqrstuvwxyz234567";

    #[test]
    fn the_ending_is_the_format() {
        let check = |name: &str, expect| {
            assert_eq!(Format::of(Path::new(name)).ok(), expect, "{name}");
        };
        check("a.png", Some(Format::Png));
        check("a.b.SVG", Some(Format::Svg));
        for name in ["a", "a.gif", ".png", "png", ""] {
            check(name, None);
        }
    }

    /// Read back by the decoder, every pixel is the module that the code has there.
    #[test]
    fn a_png_shows_the_modules() {
        let bytes = png(LINK).expect("a picture");
        let mut reader = png::Decoder::new(io::Cursor::new(bytes)).read_info().expect("a PNG");
        let size = reader.output_buffer_size().expect("its size");
        let mut pixels = vec![0; size];
        let info = reader.next_frame(&mut pixels).expect("its pixels");
        let code = QrCode::new(LINK).expect("fits");
        let side = (code.width() + 2 * QUIET_MODULES) * MODULE_PIXELS;
        assert_eq!((info.width as usize, info.height as usize), (side, side));
        for y in 0..side {
            for x in 0..side {
                let white = pixels[y * info.line_size + x / 8] & (0x80 >> (x % 8)) != 0;
                let inside = |at: usize| {
                    (at / MODULE_PIXELS).checked_sub(QUIET_MODULES).filter(|at| *at < code.width())
                };
                let dark =
                    inside(x).zip(inside(y)).is_some_and(|(x, y)| code[(x, y)] == Color::Dark);
                assert_eq!(white, !dark, "{x} {y}");
            }
        }
    }

    #[test]
    fn a_file_is_private_never_overwrites_and_goes_away() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().expect("a directory");
        for (name, format, begins) in
            [("a.png", Format::Png, &b"\x89PNG"[..]), ("a.svg", Format::Svg, b"<?xml")]
        {
            let path = place.path().join(name);
            let file = QrFile::create(&path, format, LINK).expect("written");
            let mode = path.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(std::fs::read(&path).expect("readable").starts_with(begins), "{name}");
            let error = QrFile::create(&path, format, LINK).expect_err("there is one");
            assert!(format!("{error:#}").contains("exists already"), "{error:#}");
            assert!(path.exists(), "the other one's file stays");
            drop(file);
            assert!(!path.exists());
        }
        // Nor through a link that somebody put there.
        let (target, link) = (place.path().join("target"), place.path().join("b.png"));
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        QrFile::create(&link, Format::Png, LINK).expect_err("a link");
        assert!(!target.exists());
        let nowhere = place.path().join("no").join("a.png");
        let error = QrFile::create(&nowhere, Format::Png, LINK).expect_err("no directory");
        assert!(format!("{error:#}").contains("cannot write"), "{error:#}");
    }
}
