//! The fields that every recipient has, and what people call them.

/// The fields that every recipient has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum KnownField {
    Number,
    Name,
    JobTitle,
    Company,
}

impl KnownField {
    /// Which known field a key, a column or a placeholder names, and how good the spelling is: when
    /// two keys of a row name the same field, the lower rank wins and the other is a custom field.
    /// Case, spaces, `_`, `-` and `.` do not count.
    pub(in crate::domain) fn of(name: &str) -> Option<(Self, u8)> {
        let mut letters = [0; 20];
        let mut len = 0;
        for byte in name.bytes() {
            if matches!(byte, b' ' | b'_' | b'-' | b'.') {
                continue;
            }
            *letters.get_mut(len)? = byte.to_ascii_lowercase();
            len += 1;
        }
        Some(match &letters[..len] {
            b"number" => (Self::Number, 0),
            b"phone" => (Self::Number, 1),
            b"phonenumber" => (Self::Number, 2),
            b"whatsapp" | b"whatsappnumber" | b"wa" | b"nowa" | b"nomorwa" | b"nowhatsapp"
            | b"nomorwhatsapp" => (Self::Number, 3),
            b"nohp" | b"nomorhp" | b"hp" | b"handphone" | b"nohandphone" | b"nomorhandphone"
            | b"mobile" | b"mobilenumber" | b"mobilephone" | b"msisdn" => (Self::Number, 4),
            b"telepon" | b"notelepon" | b"nomortelepon" | b"telp" | b"notelp" | b"telephone"
            | b"tel" => (Self::Number, 5),
            b"nomor" => (Self::Number, 6),
            b"name" => (Self::Name, 0),
            b"nama" => (Self::Name, 1),
            b"fullname" | b"namalengkap" | b"contactname" => (Self::Name, 2),
            b"jobtitle" => (Self::JobTitle, 0),
            b"jabatan" => (Self::JobTitle, 1),
            b"job" | b"position" | b"posisi" | b"pekerjaan" => (Self::JobTitle, 2),
            b"company" => (Self::Company, 0),
            b"companyname" => (Self::Company, 1),
            b"perusahaan" | b"namaperusahaan" => (Self::Company, 2),
            b"instansi" | b"organization" | b"organisation" | b"organisasi" => (Self::Company, 3),
            _ => return None,
        })
    }
}
