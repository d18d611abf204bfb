"""What paths, names and the label file say."""

import re

import pandas as pd
import pytest

from helpers.data.cnmc import parse_name, place_of, read_labels

LABELS = "C-NMC_test_prelim_phase_data_labels.csv"


class TestPlaceOf:
    @pytest.mark.parametrize(
        "folders",
        [
            "C-NMC_Leukemia/training_data/fold_1/all",
            "C-NMC_training_data/fold_1/all",
            "a/b/c/fold_1/fold_1/all",
            "FOLD_1/ALL",
        ],
    )
    def test_when_layouts_differ_then_the_place_is_one(self, folders):
        place = place_of(f"{folders}/UID_1_2_3_all.bmp")
        assert (place.part, place.fold, place.label) == ("training", "1", "ALL")
        assert (place.group, place.name) == ("fold_1/all", "uid_1_2_3_all.bmp")

    def test_when_folders_say_nothing_then_the_name_tells_the_class(self):
        assert place_of("cells/UID_H1_2_3_hem.png").group == "hem"

    @pytest.mark.parametrize(
        ("path", "part"),
        [
            ("validation_data/C-NMC_test_prelim_phase_data/1.bmp", "preliminary"),
            ("C-NMC_test_prelim_phase_data/C-NMC_test_prelim_phase_data/1.bmp", "preliminary"),
            ("testing_data/C-NMC_test_final_phase_data/1.bmp", "final"),
        ],
    )
    def test_when_a_test_folder_is_above_then_that_is_the_part(self, path, part):
        assert (place_of(path).part, place_of(path).group) == (part, part)

    def test_when_a_word_only_looks_like_a_class_then_it_is_none(self):
        assert place_of("wall/anthem/x.bmp").label == ""


class TestParseName:
    @pytest.mark.parametrize(
        ("stem", "cell"),
        [
            ("UID_51_12_3_all", ("ALL", "51", 12, 3)),
            ("UID_H10_14_1_hem", ("HEM", "H10", 14, 1)),
            ("UID_h3_1_2_hem", ("HEM", "h3", 1, 2)),
            ("uid_H3_1_2_HEM", ("HEM", "h3", 1, 2)),
            ("UID_001_02_3_all", ("ALL", "1", 2, 3)),
            ("UID_h003_1_2_hem", ("HEM", "h3", 1, 2)),
            ("UID_H010_1_2_hem", ("HEM", "H10", 1, 2)),
            ("UID_000_1_2_all", ("ALL", "0", 1, 2)),
            ("UID_１2_1_2_all", ("ALL", "12", 1, 2)),
        ],
    )
    def test_when_a_name_is_as_published_then_it_is_read(self, stem, cell):
        assert parse_name(stem) == cell

    @pytest.mark.parametrize("stem", ["", "UID_1_2_all", "UID_X1_2_3_all", "UID_1_2_3_all (1)"])
    def test_when_a_name_is_none_of_the_set_then_it_says_nothing(self, stem):
        assert parse_name(stem) is None


class TestReadLabels:
    def write(self, folder, *rows, columns=("Patient_ID", "new_names", "labels")):
        path = folder / LABELS
        pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
        return [str(path)]

    def test_when_lines_are_right_then_each_image_has_its_cell(self, tmp_path):
        rows = ("UID_57_29_1_all.bmp", "1.bmp", 1), ("UID_H48_1_2_hem.bmp", "2.BMP", 0)
        cells = read_labels(self.write(tmp_path, *rows))
        assert cells["1.bmp"] == ("ALL", "57", 29, 1)
        assert cells["2.bmp"].subject == "H48"

    @pytest.mark.parametrize(
        "wrong",
        [
            ("UID_57_29_1_all.bmp", "1.bmp", 0),
            ("Patient 57.bmp", "1.bmp", 1),
            ("UID_57_29_1_all.bmp", "2.bmp", 1),
        ],
    )
    def test_when_a_line_contradicts_itself_or_another_then_it_is_shown(self, tmp_path, wrong):
        rows = ("UID_H48_1_2_hem.bmp", "2.bmp", 0), wrong
        with pytest.raises(ValueError, match=f"label, 1 for all.*Received: {wrong[0]}, {wrong[1]}"):
            read_labels(self.write(tmp_path, *rows))

    def test_when_there_is_no_label_file_then_it_is_asked_for(self, tmp_path):
        other = self.write(tmp_path, ("1.bmp", 1), columns=("name", "label"))
        for files in ([], other):
            with pytest.raises(FileNotFoundError, match=f"{LABELS}.*Patient_ID.*Received"):
                read_labels(files)

    HEADER, LINE = "Patient_ID,new_names,labels", "UID_57_29_1_all.bmp,1.bmp,1"

    @pytest.mark.parametrize(
        ("change", "encoding"),
        [
            ((",", ";"), "utf-8"),
            ((",", "\t"), "utf-8"),
            ((",", " , "), "utf-8"),
            ((",", " ;"), "utf-8-sig"),
            (("\n", " \r\n"), "utf-16"),
            (("_all", "_all"), "utf-16-be"),
            ((",", '","'), "utf-8"),
        ],
    )
    def test_when_a_spreadsheet_wrote_it_then_it_is_read(self, tmp_path, change, encoding):
        lines = [line.replace(*change) for line in (self.HEADER, self.LINE)]
        quoted = [f'"{line}"' if '"' in line else line for line in lines]
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        (tmp_path / LABELS).write_bytes((mark + "\n".join(quoted)).encode(encoding))
        assert read_labels([str(tmp_path / LABELS)]) == {"1.bmp": ("ALL", "57", 29, 1)}

    @pytest.mark.parametrize("line", ['"UID_8_1_1_all.bmp,8.bmp,1', '"' + 200_000 * "x"])
    def test_when_a_quote_is_left_open_then_only_its_line_is_shown(self, tmp_path, line):
        (tmp_path / LABELS).write_text("\n".join((self.HEADER, line, self.LINE)))
        with pytest.raises(ValueError, match=r"A line of the label file") as refused:
            read_labels([str(tmp_path / LABELS)])
        assert "UID_57_29_1_all" not in str(refused.value)
        assert len(str(refused.value)) < 2_000

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("Patient|new_names|labels\n1|2|3", "Patient|new_names|labels"),
            ("name;label\n1.bmp;1", "name, label"),
            ("", ""),
        ],
    )
    def test_when_it_has_other_columns_then_they_are_named(self, tmp_path, text, said):
        (tmp_path / LABELS).write_text(text)
        with pytest.raises(FileNotFoundError, match=re.escape(f"{LABELS} with {said}")):
            read_labels([str(tmp_path / LABELS)])

    def test_when_there_are_two_copies_of_it_then_they_count_once(self, tmp_path):
        files = self.write(tmp_path, ("UID_57_29_1_all.bmp", "1.bmp", 1))
        assert len(read_labels(files * 2)) == 1
